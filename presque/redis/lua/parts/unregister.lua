-- Removes a worker from a queue. Once it is on no queue here, forgets it in this partition and returns true.
local function unregister(worker, queue)
  redis.call('ZREM', queues_of, worker .. '\0' .. queue)
  redis.call('ZREM', workers_of, queue .. '\0' .. worker)
  if #redis.call('ZRANGEBYLEX', queues_of, '[' .. worker .. '\0', '(' .. worker .. '\1', 'LIMIT', 0, 1) > 0 then
    return false
  end
  redis.call('ZREM', last_seen, worker)
  for _, key in ipairs({ worker_started, worker_processed, worker_failed }) do
    redis.call('HDEL', key, worker)
  end
  return true
end
