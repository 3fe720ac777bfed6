-- Inserts one job that a worker failed at, and counts the failure on the queue and on the worker.
-- ARGV   given up at (epoch ms), queue, due (epoch ms or ''), uniq key (or ''), worker (or ''), payload
-- Reply  as push; nothing is counted when the uniq key is taken
local last_id, queues, due, ready, front, delayed, jobs, uniq, uniq_of, failed, workers, worker_started, worker_seen,
  worker_failed, worker_queues = unpack(KEYS)
--@include now
--@include rank
--@include wake
--@include insert
--@include worker
local queue, worker = ARGV[2], ARGV[5]
local inserted = insert(queue, ARGV[3], ARGV[4], 6)
if type(inserted) == 'number' then
  redis.call('HINCRBY', failed, queue, 1)
  if worker ~= '' then
    enrol(queue, worker)
    redis.call('HINCRBY', worker_failed, worker, 1)
  end
end
return inserted
