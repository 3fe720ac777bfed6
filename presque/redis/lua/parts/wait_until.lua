-- Delays a job whose attempt failed, or that was released with a delay, until a time (epoch ms).

--@include padded
local function wait_until(queue, id, at)
  local key = redis.call('HGET', uniq_of, id)
  if key then
    redis.call('HSETNX', uniq, key, id)
  end
  redis.call('ZADD', delayed, at, padded(id))
  redis.call('ZADD', due, 'LT', at, queue)
end
