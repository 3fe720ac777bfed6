-- Inserts a job that a worker failed at, once per idempotency key, and counts the failure on the queue, and on the worker if it
-- is registered. Acknowledges the jobs that the queue kept for the worker.
-- ARGV   given up at (epoch ms), queue, fingerprint of the request ('' without an idempotency key), how long to remember it
--        (ms), worker (or ''), then due, options and payload as in insert.lua
-- Reply  as insert; nothing is counted when nothing was inserted
local q, queues, due, floor, ready, front, behind, delayed, held, jobs, live, uniq, expiring, waiting, last_seen,
  worker_failed, kept, remembered = unpack(KEYS)
--@include now
--@include acknowledge_kept
--@include count_worker
--@include insert
--@include remember
--@include specified
local queue, worker = ARGV[2], ARGV[5]
local before = answered_before(ARGV[3])
if before then
  return { 'inserted', before }
end
local first, letters = insert(queue, 1, function()
  return specified(ARGV[6], ARGV[7], ARGV[8])
end)
if not letters then
  return first
end
redis.call('HINCRBY', q, 'failed', 1)
redis.call('HINCRBY', q, 'failed_worker', 1)
if worker ~= '' then
  acknowledge_kept(worker)
  count_worker(worker, worker_failed, 1)
end
return remember(ARGV[3], first, letters, ARGV[4])
