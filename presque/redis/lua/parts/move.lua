-- Moves at most `limit` (up to 1000) delayed jobs that have come due, and as many whose lease has run out, to the front;
-- then notes when this queue next needs it. Returns how many were moved.
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
    redis.call('ZREM', leased, unpack(run_out))
    redis.call('HDEL', receipts, unpack(run_out))
    to_front(run_out)
  end
  local next_delayed = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
  local next_leased = redis.call('ZRANGE', leased, 0, 0, 'WITHSCORES')[2]
  redis.call('ZREM', due, queue) -- first, because a full Redis refuses a ZADD that is a script's first write
  if next_delayed or next_leased then
    local at = math.min(tonumber(next_delayed or next_leased), tonumber(next_leased or next_delayed))
    redis.call('ZADD', due, at, queue)
  end
  return #came_due / 2 + #run_out
end
