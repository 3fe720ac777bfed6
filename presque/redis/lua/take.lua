-- Takes jobs for good, and holds them until it is known whether they reached their consumer. The jobs that the worker was
-- given before, and the queue keeps in its name, are acknowledged.
-- ARGV   given up at (epoch ms), queue, how many (1 to 1000), hold (ms), receipt, worker (or ''), daemon (or '')
--        that is to be woken when there is nothing
-- Reply  {1 when the queue keeps them once they have arrived else 0, number, job, number, job, …}, or 0 when the queue is stopped
local paused, processed, failed, due, ready, front, delayed, leased, dead, receipts, jobs, uniq, uniq_of, attempts,
  limits, history, holders, run_outs, settings, kept, waiting, last_seen, worker_processed = unpack(KEYS)
--@include now
--@include rank
--@include wake
--@include wait
--@include setting
--@include front
--@include forget
--@include attempt
--@include retry
--@include kept
--@include or_undo
--@include move
--@include pop
--@include worker
local queue, want, hold, receipt, worker = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], ARGV[6]
local keep = 0
if worker ~= '' then
  acknowledge_kept(worker)
  keep = redis.call('HEXISTS', settings, 'redeliver_after')
end
if redis.call('SISMEMBER', paused, queue) == 1 then
  wait(ARGV[7])
  return 0
end
local move_at, moved = redis.call('ZSCORE', due, queue), 0
if move_at and tonumber(move_at) <= now then
  moved = move(queue, 1000)
end
local reply = { keep }
local taken = pop(queue, want, now + hold, receipt, function(id, job)
  reply[#reply + 1] = id
  reply[#reply + 1] = job
end)
wake(moved - taken) -- there is more than was asked for, and the mover will not come for it again
if taken == 0 then
  wait(ARGV[7])
end
if worker ~= '' then
  count_worker(worker, worker_processed, taken)
end
return reply
