-- Leases jobs, in their order.
-- ARGV   given up at (epoch ms), queue, how many (1 to 1000), lease (ms, or '' for the queue's), receipt, worker (or ''), daemon (or '')
--        that is to be woken when there is nothing
-- Reply  {lease ends at (epoch ms), number, job, attempt, most attempts, number, …}, or 0 when the queue is stopped
local paused, processed, failed, due, ready, front, delayed, leased, dead, receipts, jobs, uniq, uniq_of, attempts, limits, history,
  settings, kept, waiting, last_seen, worker_processed = unpack(KEYS)
--@include now
--@include rank
--@include wake
--@include wait
--@include setting
--@include front
--@include forget
--@include attempt
--@include kept
--@include move
--@include pop
--@include worker
local queue, want, receipt, worker = ARGV[2], tonumber(ARGV[3]), ARGV[5], ARGV[6]
if redis.call('SISMEMBER', paused, queue) == 1 then
  wait(ARGV[7])
  return 0
end
local move_at, moved = redis.call('ZSCORE', due, queue), 0
if move_at and tonumber(move_at) <= now then
  moved = move(queue, 1000)
end
local deadline = now + (tonumber(ARGV[4]) or setting('lease'))
local reply, most = { deadline }, setting('max_attempts')
local taken = pop(queue, want, deadline, receipt, function(id, job)
  reply[#reply + 1] = id
  reply[#reply + 1] = job
  reply[#reply + 1] = tonumber(redis.call('HGET', attempts, id) or 0) + 1
  reply[#reply + 1] = tonumber(redis.call('HGET', limits, id) or most)
end)
wake(moved - taken) -- there is more than was asked for, and the mover will not come for it again
if taken == 0 then
  wait(ARGV[7])
end
if worker ~= '' then
  count_worker(worker, worker_processed, taken)
end
return reply
