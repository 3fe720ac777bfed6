-- Leases jobs, in order. With an idempotency key, jobs that were leased with it before and are still leased are returned again.
-- ARGV   given up at (epoch ms), queue, how many (1 to 1000), lease (ms, or '' for the queue's), receipt, worker (or ''),
--        how long to remember the idempotency key (ms, or '' without one), daemon (or '') to wake later if there is
--        no job, other queues of the same reservation …
-- Reply  {now, lease ends at (both epoch ms), number, job, attempt, max_attempts, number, …}; 0 when the queue is stopped; what
--        parts/reserved_before.lua returns; or {'elsewhere', queue}, from which something was leased with the idempotency key
local paused, processed, failed, due, ready, front, delayed, leased, dead, receipts, jobs, uniq, uniq_of, attempts,
  limits, history, holders, run_outs, settings, kept, waiting, last_seen, worker_processed, remembered = unpack(KEYS)
--@include now
--@include remember_reservation
--@include reserved_before
--@include setting
--@include take
local queue, receipt, worker, kept_for = ARGV[2], ARGV[5], ARGV[6], ARGV[7]
if kept_for ~= '' then
  for i = 8, #ARGV do
    local other = i == 8 and queue or ARGV[i]
    local said = redis.call('HGET', remembered, other)
    if said and said:match('^%+?(%S+)') == receipt then
      return { now, now } -- another try of this request got jobs already
    elseif said and other ~= queue then
      return { 'elsewhere', other }
    end
  end
  local before = reserved_before(queue, kept_for)
  if before then
    return before
  end
end
local lease = tonumber(ARGV[4]) or setting('lease')
local reply, names, max_attempts = { now, now + lease }, {}, setting('max_attempts')
local taken = take(queue, tonumber(ARGV[3]), lease, receipt, worker, ARGV[8], function(id, job)
  reply[#reply + 1] = id
  reply[#reply + 1] = job
  reply[#reply + 1] = tonumber(redis.call('HGET', attempts, id) or 0) + 1
  reply[#reply + 1] = tonumber(redis.call('HGET', limits, id) or max_attempts)
  if worker ~= '' then
    names[#names + 1] = id
    names[#names + 1] = receipt .. ' ' .. worker
  end
end)
if not taken then
  return 0
end
if kept_for ~= '' and taken > 0 then
  remember_reservation(queue, receipt, reply, kept_for)
end
if #names > 0 then
  redis.call('HSET', holders, unpack(names))
end
return reply
