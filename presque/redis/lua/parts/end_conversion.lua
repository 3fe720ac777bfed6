-- Writes the facts of a converted queue, and removes what data model 2 had of it.

--@include is
--@include visit_by
-- The settings that were set; none if the hash has too many fields to be settings.
local function old_facts()
  local set = is(old_settings, 'hash') and redis.call('HLEN', old_settings) <= 100 and redis.call('HGETALL', old_settings)
  return set or {}
end

local function old_count(key, queue)
  return is(key, 'hash') and tonumber(redis.call('HGET', key, queue) or nil) or 0
end

local function write_facts(queue, state)
  local last = tonumber(is(old_last_id, 'string') and redis.call('GET', old_last_id) or nil) or 0
  local n = math.max(last, state.highest, redis.call('LINDEX', ready, -1) or 0) -- the last number may be lost, or restored
  local facts = { 'n', n, 'base', n - redis.call('HLEN', jobs), 'out', old_count(old_processed, queue) }
  redis.call('HSET', q, unpack(facts))
  local at = redis.call('EXISTS', dead) == 1 and now or math.huge -- when the next one is forgotten, is found out then
  for _, key in ipairs({ delayed, leased, held }) do
    at = math.min(at, tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or at))
  end
  visit_at(queue, at)
  if is(old_paused, 'set') and redis.call('SISMEMBER', old_paused, queue) == 1 then
    redis.call('HSET', q, 'off', 'paused')
  end
  redis.call('HSET', q, 'gone', state.gone, 'failed', old_count(old_failed, queue))
  local settings = old_facts()
  if #settings > 0 then
    redis.call('HSET', q, unpack(settings))
  end
  redis.call('ZADD', queues, 0, queue)
end

local function end_conversion(queue, state)
  if redis.call('HLEN', jobs) > 0 or redis.call('ZSCORE', queues, queue)
    or is(old_paused, 'set') and redis.call('SISMEMBER', old_paused, queue) == 1 then
    write_facts(queue, state)
  else
    redis.call('ZREM', due, queue)
  end
  redis.call('UNLINK', old_receipts, old_uniq_of, old_attempts, old_limits, old_history, old_run_outs, old_holders, old_settings)
  redis.call('UNLINK', old_front, old_delayed, old_leased, old_dead, old_kept, conversion)
end
