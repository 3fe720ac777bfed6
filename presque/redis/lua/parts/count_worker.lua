-- Records that a worker was seen, if it is registered, and adds to one of its counters.
local function count_worker(worker, counter, by)
  if redis.call('ZSCORE', last_seen, worker) then
    redis.call('ZREM', last_seen, '') -- first, because a full Redis refuses a ZADD as a script's first write
    redis.call('ZADD', last_seen, now, worker)
    if by > 0 then
      redis.call('HINCRBY', counter, worker, by)
    end
  end
end
