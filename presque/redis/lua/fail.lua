-- Inserts one job that a worker failed at, and counts the failure on the queue and on the worker. The job that the worker was
-- given before, where this queue keeps such jobs, is acknowledged.
-- ARGV   given up at (epoch ms), queue, due (epoch ms or ''), uniq key (or ''), worker (or ''), payload
-- Reply  as push; nothing is counted when nothing was inserted
local last_id, queues, due, ready, front, delayed, jobs, uniq, uniq_of, limits, settings, failed, workers,
  worker_started, worker_seen, worker_failed, worker_queues, leased, receipts, attempts, history, holders, run_outs,
  kept = unpack(KEYS)
--@include now
--@include rank
--@include wake
--@include refusal
--@include insert
--@include forget
--@include kept
--@include worker
local queue, worker = ARGV[2], ARGV[5]
local inserted = insert(queue, 1, function()
  return ARGV[3], ARGV[4], '', ARGV[6]
end)
if type(inserted) == 'number' then
  redis.call('HINCRBY', failed, queue, 1)
  if worker ~= '' then
    acknowledge_kept(worker)
    enrol(queue, worker)
    redis.call('HINCRBY', worker_failed, worker, 1)
  end
end
return inserted
