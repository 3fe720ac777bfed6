-- Has a job whose attempt failed, or that was released with a delay, wait until a moment (epoch ms); and how long that is by
-- the queue's back-off, after `count` failed attempts. `chance` (0 to 1) spreads it by a fifth either way.

--@include rank
--@include setting
local function wait_until(queue, id, at)
  local key = redis.call('HGET', uniq_of, id)
  if key then
    redis.call('HSETNX', uniq, key, id)
  end
  redis.call('ZADD', delayed, at, padded(id))
  redis.call('ZADD', due, 'LT', at, queue)
end

local function back_off(count, chance)
  local first = setting('backoff_first')
  if first == 0 then
    return 0
  end
  local delay = first * setting('backoff_factor') ^ (count - 1) -- which may be infinite
  return math.floor(math.min(delay, setting('backoff_max')) * (0.8 + 0.4 * chance))
end
