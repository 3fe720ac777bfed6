-- Moves at most `limit` (up to 1000) delayed jobs that have come due, and as many whose lease has run out, to the front; a
-- lease, unlike the hold of a hand-off, was an attempt, and the last attempt makes the job dead. Forgets dead jobs that are
-- too old. Then notes when this queue next needs it. Returns how many it moved.
local function move(queue, limit)
  local came_due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
  if #came_due > 0 then
    local ids, ranks = {}, {}
    for i = 1, #came_due, 2 do
      ids[#ids + 1] = came_due[i]
      ranks[#ranks + 1] = came_due[i + 1]
      ranks[#ranks + 1] = came_due[i]
    end
    redis.call('ZREM', delayed, unpack(ids))
    redis.call('ZADD', front, unpack(ranks))
  end
  local run_out = redis.call('ZRANGEBYSCORE', leased, '-inf', now, 'LIMIT', 0, limit)
  if #run_out > 0 then
    local holders, again = redis.call('HMGET', receipts, unpack(run_out)), {}
    redis.call('ZREM', leased, unpack(run_out))
    redis.call('HDEL', receipts, unpack(run_out))
    for i, id in ipairs(run_out) do
      if holders[i]:byte() == 104 or count_attempt(id, 'the lease ran out') then -- 'h': a hold
        again[#again + 1] = id
      end
    end
    if #again > 0 then
      to_front(again)
    end
  end
  local trimmed = trim_dead()
  local at = math.huge
  for _, key in ipairs({ delayed, leased }) do
    at = math.min(at, tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or at))
  end
  local died = redis.call('ZRANGE', dead, 0, 0, 'WITHSCORES')[2]
  at = died and math.min(at, died + setting('dead_age')) or at
  redis.call('ZREM', due, queue) -- first, because a full Redis refuses a ZADD that is a script's first write
  if at < math.huge then
    redis.call('ZADD', due, at, queue)
  end
  return #came_due / 2 + #run_out + trimmed
end
