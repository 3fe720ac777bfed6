-- Creates the queue unless it exists. Not as a script's first write, which a full Redis refuses.
local function exist(queue)
  if redis.call('HEXISTS', q, 'n') == 0 then
    local base = redis.call('GET', floor) or 0
    redis.call('HSET', q, 'n', base, 'base', base)
  end
  redis.call('ZADD', queues, 0, queue)
end
