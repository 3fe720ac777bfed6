-- Forgets up to 100 dead jobs that are too old, and up to 100 beyond the number to keep. Returns how many.

--@include setting
local function trim_dead()
  local count = redis.call('ZCARD', dead)
  if count == 0 then
    return 0
  end
  local old = redis.call('ZRANGEBYSCORE', dead, '-inf', now - setting('dead_age'), 'LIMIT', 0, 100)
  local over = count - #old - setting('dead_count')
  if over > 0 then
    for _, id in ipairs(redis.call('ZRANGE', dead, #old, #old + math.min(over, 100) - 1)) do
      old[#old + 1] = id
    end
  end
  if #old > 0 then
    redis.call('ZREM', dead, unpack(old))
    redis.call('HDEL', live, unpack(old))
    redis.call('HINCRBY', q, 'deleted', redis.call('HDEL', jobs, unpack(old)))
  end
  return #old
end

-- When the next trim is due (epoch ms): now while there are too many, infinite if none are dead.
local function trim_dead_at()
  local died = redis.call('ZRANGE', dead, 0, 0, 'WITHSCORES')[2]
  if not died then
    return math.huge
  end
  return redis.call('ZCARD', dead) > setting('dead_count') and now or died + setting('dead_age')
end
