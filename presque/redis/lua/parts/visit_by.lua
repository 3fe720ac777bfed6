-- When the queue must be moved next. `at` in `q` and the score in `due` are written here alone.
local function visit_at(queue, at)
  if at < math.huge then
    redis.call('ZADD', due, at, queue)
    redis.call('HSET', q, 'at', string.format('%.0f', at))
  else
    redis.call('ZREM', due, queue)
    redis.call('HDEL', q, 'at')
  end
end

-- Makes sure that it is moved at `at` (epoch ms) or earlier.
local function visit_by(queue, at)
  local known = redis.call('HGET', q, 'at')
  if not known or tonumber(known) > at then
    visit_at(queue, at)
  end
end
