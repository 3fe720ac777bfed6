-- Settles leased jobs, each by its own outcome: ack ends it; nack counts the attempt as failed, and the job waits for its next
-- try or is dead; release puts it back uncounted. A receipt that is no longer the job's settles nothing.
-- ARGV   given up at (epoch ms), queue, then for each job: number, receipt, outcome, delay (ms, or '' for the usual), error,
--        chance (0 to 1, for the back-off)
-- Reply  for each job two: ack 0, release 0, delayed <due at, epoch ms>, dead 0, lost 0 (another receipt is the job's), or
--        gone 0 (there is no such job)
local due, ready, front, delayed, leased, dead, receipts, jobs, uniq, uniq_of, attempts, limits, history, settings, failed,
  acked, acked_by, waiting = unpack(KEYS)
--@include now
--@include rank
--@include wake
--@include setting
--@include front
--@include forget
--@include attempt
--@include retry
--@include acked
local queue, reply, settled, ready_again = ARGV[2], {}, {}, 0

local outcomes = {}
function outcomes.ack(id, receipt)
  forget({ id })
  note_ack(id, receipt)
  return 'ack', 0
end
function outcomes.nack(id, _, delay, why, chance)
  redis.call('HINCRBY', failed, queue, 1)
  local count = count_attempt(id, why)
  if not count then
    return 'dead', 0
  end
  local at = now + (tonumber(delay) or back_off(count, tonumber(chance)))
  wait_until(queue, id, at)
  return 'delayed', at
end
function outcomes.release(id, _, delay)
  if (tonumber(delay) or 0) > 0 then
    wait_until(queue, id, now + delay)
    return 'release', 0
  end
  to_front({ id })
  ready_again = ready_again + 1
  return 'release', 0
end

local function settle(id, receipt, outcome, ...)
  local carry_out, ends_at = outcomes[outcome], redis.call('ZSCORE', leased, id)
  if carry_out and ends_at and tonumber(ends_at) > now and redis.call('HGET', receipts, id) == receipt then
    redis.call('ZREM', leased, id)
    redis.call('HDEL', receipts, id)
    return carry_out(id, receipt, ...)
  end
  local by = redis.call('HGET', acked_by, id)
  if by == receipt and outcome == 'ack' then
    return 'ack', 0
  end
  return (by or redis.call('HEXISTS', jobs, id) == 1) and 'lost' or 'gone', 0
end

for at = 3, #ARGV, 6 do
  local word, when = settle(unpack(ARGV, at, at + 5))
  reply[#reply + 1], reply[#reply + 2] = word, when
  settled[word] = true
end
if settled.ack then
  forget_old_acks()
end
if settled.dead then
  trim_dead()
  redis.call('ZADD', due, 'LT', math.min(trim_dead_at(), now + setting('dead_age')), queue)
end
wake(ready_again)
return reply
