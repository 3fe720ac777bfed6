-- Settles leased jobs, each by its own outcome: ack ends it; nack counts the attempt as failed, and the job waits for its next
-- try or is dead; final is a nack after which it is dead; release puts it back uncounted. A receipt that is no longer the job's
-- settles nothing; one that settled the job before gets the same answer again.
-- ARGV   given up at (epoch ms), queue, then for each job: number, receipt, outcome, delay (ms, or '' for the default), error,
--        chance (0 to 1, for the back-off of a nack, else '')
-- Reply  for each job three: acked 0 0, released 0 0, delayed <due at, epoch ms> <in how long, ms>, dead 0 0, lease-lost 0 0
--        (another receipt is the job's), or not-found 0 0 (the job does not exist): see presque.jobs.outcomes
local due, ready, front, delayed, leased, dead, receipts, jobs, uniq, uniq_of, attempts, limits, history, holders,
  run_outs, settings, failed, acked, acked_by, waiting = unpack(KEYS)
--@include now
--@include back_off
--@include count_attempt
--@include forget
--@include or_undo
--@include padded
--@include setting
--@include settled_before
--@include to_front
--@include trim_dead
--@include wait_until
--@include wake
local queue, reply, settled, ready_again = ARGV[2], {}, {}, 0 -- `settled`: work to do once at the end

local outcomes = {}
function outcomes.ack(id, receipt)
  forget({ id })
  note_settlement(id, receipt)
  return 'acked', 0, 0
end
local function fail(id, receipt, delay, why, chance, is_final)
  redis.call('HINCRBY', failed, queue, 1)
  local count = count_attempt(id, why, is_final)
  if not count then
    settled.dead = true
    note_settlement(id .. ' ' .. receipt, 'dead 0 0')
    return 'dead', 0, 0
  end
  local wait = tonumber(delay) or back_off(count, tonumber(chance))
  wait_until(queue, id, now + wait)
  note_settlement(id .. ' ' .. receipt, string.format('delayed %d %d', now + wait, wait))
  return 'delayed', now + wait, wait
end
function outcomes.nack(id, receipt, delay, why, chance)
  return fail(id, receipt, delay, why, chance, false)
end
function outcomes.final(id, receipt, _, why)
  return fail(id, receipt, nil, why, nil, true)
end
function outcomes.release(id, receipt, delay)
  note_settlement(id .. ' ' .. receipt, 'release 0 0')
  if (tonumber(delay) or 0) > 0 then
    wait_until(queue, id, now + delay)
  else
    to_front({ id })
    ready_again = ready_again + 1
  end
  return 'released', 0, 0
end

-- Restores a job whose settlement failed.
local function hold_again(id, receipt, ends_at)
  redis.pcall('ZREM', front, padded(id))
  redis.pcall('ZREM', delayed, padded(id))
  redis.pcall('ZREM', dead, id)
  if redis.call('HEXISTS', jobs, id) == 1 then
    redis.pcall('ZADD', leased, ends_at, id)
    redis.pcall('HSET', receipts, id, receipt)
  end
end

local function settle(id, receipt, outcome, ...)
  local carry_out, ends_at = outcomes[outcome], redis.call('ZSCORE', leased, id)
  if ends_at and tonumber(ends_at) > now and redis.call('HGET', receipts, id) == receipt then
    redis.call('ZREM', leased, id)
    redis.call('HDEL', receipts, id)
    settled.now = true
    local said = { ... }
    return or_undo(function()
      return carry_out(id, receipt, unpack(said))
    end, function()
      hold_again(id, receipt, ends_at)
    end)
  end
  local before, was_acked = settled_before(id, receipt, outcome)
  if before then
    return unpack(before)
  end
  return (was_acked or redis.call('HEXISTS', jobs, id) == 1) and 'lease-lost' or 'not-found', 0, 0
end

for at = 3, #ARGV, 6 do
  local became, due_at, due_in = settle(unpack(ARGV, at, at + 5))
  reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = became, due_at, due_in
end
if settled.now then
  forget_old_settlements()
end
if settled.dead then
  trim_dead()
  redis.call('ZADD', due, 'LT', math.min(trim_dead_at(), now + setting('dead_age')), queue)
end
wake(ready_again)
return reply
