-- Notes that a worker was seen on this queue, which puts it there, and adds `by` to one of its counters.
local function enrol(queue, worker)
  redis.call('HSET', worker_seen, worker, now)
  if redis.call('SADD', workers, worker) == 1 then
    redis.call('HSETNX', worker_started, worker, now)
    local others = redis.call('HGET', worker_queues, worker)
    redis.call('HSET', worker_queues, worker, others and others .. ' ' .. queue or queue)
  end
end
