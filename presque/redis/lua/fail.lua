-- Inserts a job that a worker failed at, once per idempotency key, and counts the failure on the queue, and on the worker if it
-- is registered. Acknowledges the jobs that the queue kept for the worker.
-- ARGV   given up at (epoch ms), queue, fingerprint of the request ('' without an idempotency key), how long to remember it
--        (ms), due (epoch ms or ''), uniq key (or ''), worker (or ''), payload
-- Reply  as insert; nothing is counted when nothing was inserted
local last_id, queues, due, ready, front, delayed, jobs, uniq, uniq_of, limits, settings, failed, last_seen,
  worker_failed, leased, receipts, attempts, history, holders, run_outs, kept, waiting, remembered = unpack(KEYS)
--@include now
--@include count_worker
--@include insert
--@include release_kept
--@include remember
local queue, worker = ARGV[2], ARGV[7]
local before = answered_before(ARGV[3])
if before then
  return { 'inserted', before }
end
local first, states = insert(queue, 1, function()
  return ARGV[5], ARGV[6], '', ARGV[8]
end)
if not states then
  return first
end
redis.call('HINCRBY', failed, queue, 1)
if worker ~= '' then
  acknowledge_kept(worker)
  count_worker(worker, worker_failed, 1)
end
return remember(ARGV[3], first, states, ARGV[4])
