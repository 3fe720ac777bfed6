-- Removes a worker from a queue, acknowledges the jobs that the queue kept for it, and forgets the worker once it is on no
-- queue.
-- ARGV   given up at (epoch ms), queue, worker
-- Reply  1 when it was on that queue, else 0
local q, held, jobs, live, kept, last_seen, queues_of, workers_of, worker_started, worker_processed, worker_failed = unpack(KEYS)
--@include now
--@include acknowledge_kept
--@include unregister
local queue, worker = ARGV[2], ARGV[3]
acknowledge_kept(worker)
local was_there = redis.call('ZSCORE', workers_of, queue .. '\0' .. worker) and 1 or 0
unregister(worker, queue)
return was_there
