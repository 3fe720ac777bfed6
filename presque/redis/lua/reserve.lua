-- Leases jobs, in their order. What was leased before with the same idempotency key, and is leased still, is answered again.
-- ARGV   given up at (epoch ms), queue, how many (1 to 1000), lease (ms, or '' for the queue's), receipt, worker (or ''),
--        how long to remember the idempotency key (ms, or '' without one), daemon (or '') that is to be woken when there is
--        nothing, other queues of the same reservation …
-- Reply  {now, lease ends at (both epoch ms), number, job, attempt, most attempts, number, …}; 0 when the queue is stopped; as
--        parts/reserved_before.lua says; or {'elsewhere', queue}, from which something was leased with the idempotency key
local paused, processed, failed, due, ready, front, delayed, leased, dead, receipts, jobs, uniq, uniq_of, attempts,
  limits, history, holders, run_outs, settings, kept, waiting, last_seen, worker_processed, remembered = unpack(KEYS)
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
--@include reserved_before
--@include remember_reservation
--@include worker
local queue, want, receipt, worker, kept_for = ARGV[2], tonumber(ARGV[3]), ARGV[5], ARGV[6], ARGV[7]
if kept_for ~= '' then
  for i = 8, #ARGV do
    local other = i == 8 and queue or ARGV[i]
    local said = redis.call('HGET', remembered, other)
    if said and said:match('^%+?(%S+)') == receipt then
      return { now, now } -- this request has its jobs, by another look
    elseif said and other ~= queue then
      return { 'elsewhere', other }
    end
  end
  local before = reserved_before(queue, kept_for)
  if before then
    return before
  end
end
if redis.call('SISMEMBER', paused, queue) == 1 then
  wait(ARGV[8])
  return 0
end
local move_at, moved = redis.call('ZSCORE', due, queue), 0
if move_at and tonumber(move_at) <= now then
  moved = move(queue, 1000)
end
local deadline = now + (tonumber(ARGV[4]) or setting('lease'))
local reply, names, most = { now, deadline }, {}, setting('max_attempts')
local taken = pop(queue, want, deadline, receipt, function(id, job)
  reply[#reply + 1] = id
  reply[#reply + 1] = job
  reply[#reply + 1] = tonumber(redis.call('HGET', attempts, id) or 0) + 1
  reply[#reply + 1] = tonumber(redis.call('HGET', limits, id) or most)
  if worker ~= '' then
    names[#names + 1] = id
    names[#names + 1] = receipt .. ' ' .. worker
  end
end)
wake(moved - taken) -- there is more than was asked for, and the mover will not come for it again
if taken == 0 then
  wait(ARGV[8])
end
if kept_for ~= '' and taken > 0 then
  remember_reservation(queue, receipt, reply, kept_for)
end
if #names > 0 then
  redis.call('HSET', holders, unpack(names))
end
if worker ~= '' then
  count_worker(worker, worker_processed, taken)
end
return reply
