-- Begins to convert a queue of data model 2: puts aside those of its keys whose names data model 3 has too. A key of a wrong type,
-- which another program wrote, is removed. If one was, or if there are uniq keys but it is not known any more of which jobs, the
-- queue is `spoilt`: then each record in `ready` is read, see parts/find_lost.lua.

--@include is
local HASHES = { old_receipts, old_uniq_of, old_attempts, old_limits, old_history, old_run_outs, old_holders, old_settings }

local function remove_unless(kind, keys)
  for _, key in ipairs(redis.call('EXISTS', unpack(keys)) > 0 and keys or {}) do
    if not is(key, kind) and redis.call('UNLINK', key) == 1 then
      redis.call('HSET', conversion, 'spoilt', 1)
    end
  end
end

local function put_aside(key, as, kind)
  if is(key, kind) then
    redis.call('RENAME', key, as)
  else
    redis.call('UNLINK', key)
  end
end

local function begin_conversion()
  redis.call('HSET', conversion, 'phase', 'read') -- first: a full Redis refuses it, and nothing has changed
  if redis.call('EXISTS', uniq) == 1 and redis.call('EXISTS', old_uniq_of) == 0 then
    redis.call('HSET', conversion, 'spoilt', 1)
  end
  remove_unless('hash', HASHES)
  remove_unless('hash', { jobs, live, uniq })
  remove_unless('zset', { due, held })
  remove_unless('list', { ready })
  if redis.call('EXISTS', front, delayed, leased, dead, kept, acked, old_acked_by) > 0 then
    put_aside(front, old_front, 'zset')
    put_aside(delayed, old_delayed, 'zset')
    put_aside(leased, old_leased, 'zset')
    put_aside(dead, old_dead, 'zset')
    put_aside(kept, old_kept, 'hash')
    redis.call('UNLINK', acked)
    put_aside(old_acked_by, acked_before, 'hash')
    redis.call('PEXPIRE', acked_before, 7200000) -- as the scripts of data model 3 do
  end
  redis.call('HSET', conversion, 'unread', redis.call('LLEN', ready))
end
