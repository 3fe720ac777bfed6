-- Registers a worker on a queue; its counters start at 0 and its time now.
-- ARGV   given up at (epoch ms), queue, worker
-- Reply  1
local workers, worker_started, worker_seen, worker_processed, worker_failed, worker_queues = unpack(KEYS)
--@include now
--@include worker
local queue, worker = ARGV[2], ARGV[3]
redis.call('HDEL', worker_processed, worker) -- first: a full Redis refuses a HSET that is a script's first write
redis.call('HDEL', worker_failed, worker)
redis.call('HSET', worker_started, worker, now)
enrol(queue, worker)
return 1
