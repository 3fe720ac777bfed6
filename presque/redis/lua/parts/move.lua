-- Moves up to `limit` (1000) jobs whose lease has run out, and as many delayed ones that have come due, to the front. A lease,
-- unlike the hold of a hand-off, was an attempt: the last one makes the job dead, and from the second one that runs out on, the
-- job waits for the back-off, because it may be what killed its workers. Forgets dead jobs that are too old or too many. Then
-- records when this queue next needs a move. Returns how many jobs became ready, and how many it processed in all.

--@include back_off
--@include count_attempt
--@include or_undo
--@include padded
--@include release_kept
--@include to_front
--@include trim_dead
--@include wait_until
local function spread(id) -- a deterministic chance (0 to 1) that differs by job and time
  return ((tonumber(id) % 9973) * 7919 + now) % 1000 / 1000
end

local function run_out_lease(queue, id)
  local count = count_attempt(id, 'the lease ran out')
  if not count then
    return false
  end
  local wait = redis.call('HINCRBY', run_outs, id, 1) > 1 and back_off(count, spread(id)) or 0
  if wait > 0 then
    wait_until(queue, id, now + wait)
  end
  return wait == 0
end

-- Processes jobs whose lease or hold, under these receipts, has run out. Returns how many of them are in front now.
local function fail_run_out(queue, run_out, under)
  local again, ran_out, were_kept = {}, 0, 0
  for i, id in ipairs(run_out) do
    local was_lease = under[i] and under[i]:byte() ~= 104 -- 'h': a hold
    ran_out = ran_out + (was_lease and 1 or 0)
    were_kept = were_kept + (under[i] and under[i]:byte() == 107 and 1 or 0) -- 'k'
    if not was_lease or run_out_lease(queue, id) then
      again[#again + 1] = id
    end
  end
  if ran_out > 0 then
    redis.call('HINCRBY', failed, queue, ran_out)
  end
  forget_kept(2 * were_kept)
  if #again > 0 then
    to_front(again)
  end
  return #again
end

local function move_run_out(queue, limit)
  local run_out = redis.call('ZRANGEBYSCORE', leased, '-inf', now, 'LIMIT', 0, limit)
  if #run_out == 0 then
    return 0, 0
  end
  local under = redis.call('HMGET', receipts, unpack(run_out))
  redis.call('ZREM', leased, unpack(run_out))
  redis.call('HDEL', receipts, unpack(run_out))
  local made_ready = or_undo(function()
    return fail_run_out(queue, run_out, under)
  end, function()
    for i, id in ipairs(run_out) do
      redis.pcall('ZREM', front, padded(id))
      redis.pcall('ZREM', delayed, padded(id))
      redis.pcall('ZREM', dead, id)
      redis.pcall('ZADD', leased, now, id)
      redis.pcall('HSET', receipts, id, under[i] or '')
    end
  end)
  return made_ready, #run_out
end

local function move_due(limit)
  local came_due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
  if #came_due > 0 then
    local ids, ranks = {}, {}
    for i = 1, #came_due, 2 do
      ids[#ids + 1] = came_due[i]
      ranks[#ranks + 1] = came_due[i + 1]
      ranks[#ranks + 1] = came_due[i]
    end
    redis.call('ZREM', delayed, unpack(ids))
    or_undo(function()
      redis.call('ZADD', front, unpack(ranks))
    end, function()
      redis.pcall('ZADD', delayed, unpack(ranks))
    end)
  end
  return #came_due / 2
end

local function move(queue, limit)
  local made_ready, run_out = move_run_out(queue, limit)
  local came_due = move_due(limit)
  local trimmed = trim_dead()
  local at = trim_dead_at()
  for _, key in ipairs({ delayed, leased }) do
    at = math.min(at, tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or at))
  end
  redis.call('ZREM', due, queue) -- first, because a full Redis refuses a ZADD as a script's first write
  if at < math.huge then
    redis.call('ZADD', due, at, queue)
  end
  return made_ready + came_due, run_out + came_due + trimmed
end
