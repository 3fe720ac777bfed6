-- Registers a worker on a queue; its counters start at 0 and its time now.
-- ARGV   given up at (epoch ms), queue, worker
-- Reply  1
local workers, worker_started, worker_seen, worker_processed, worker_failed, worker_queues = unpack(KEYS)
--@include now
--@include worker
local queue, worker = ARGV[2], ARGV[3]
redis.call('HSET', worker_started, worker, now)
enrol(queue, worker)
redis.call('HDEL', worker_processed, worker)
redis.call('HDEL', worker_failed, worker)
return 1
