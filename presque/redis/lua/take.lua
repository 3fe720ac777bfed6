-- Takes jobs for good, and holds them until it is known whether they reached their consumer. Acknowledges the jobs that the
-- queue kept for the worker.
-- ARGV   given up at (epoch ms), queue, how many (1 to 1000), hold (ms), receipt, worker (or ''), daemon (or '')
--        to wake later if there is no job
-- Reply  {1 if the queue keeps them after arrival, else 0, number, job, number, job, …}, or 0 when the queue is stopped
local paused, processed, failed, due, ready, front, delayed, leased, dead, receipts, jobs, uniq, uniq_of, attempts,
  limits, history, holders, run_outs, settings, kept, waiting, last_seen, worker_processed = unpack(KEYS)
--@include now
--@include release_kept
--@include take
local queue, hold, receipt, worker = ARGV[2], tonumber(ARGV[4]), ARGV[5], ARGV[6]
local reply = { 0 }
if worker ~= '' then
  acknowledge_kept(worker)
  reply[1] = redis.call('HEXISTS', settings, 'redeliver_after')
end
local taken = take(queue, tonumber(ARGV[3]), hold, receipt, worker, ARGV[7], function(id, job)
  reply[#reply + 1] = id
  reply[#reply + 1] = job
end)
return taken and reply or 0
