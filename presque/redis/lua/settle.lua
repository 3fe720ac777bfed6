-- Settles leased jobs, each by its own outcome: ack ends it; nack counts the attempt as failed, and the job waits for its next
-- try or is dead; final is a nack after which it is dead; release puts it back uncounted. A receipt that is no longer the job's
-- settles nothing; one that settled the job before gets the same answer again.
-- ARGV   given up at (epoch ms), queue, then for each job: number, receipt, outcome, delay (ms, or '' for the default), error,
--        chance (0 to 1, for the back-off of a nack, else '')
-- Reply  for each job three: acked 0 0, released 0 0, delayed <due at, epoch ms> <in how long, ms>, dead 0 0, lease-lost 0 0
--        (another receipt is the job's), or not-found 0 0 (the job does not exist): see presque.jobs.outcomes
local q, due, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, acked, acked_before,
  waiting = unpack(KEYS)
--@include now
--@include back_off
--@include check_keys
--@include count_attempt
--@include die
--@include read_live
--@include settled_before
--@include to_front
--@include wait_until
--@include wake
local queue, reply, ready_again, has_died, is_checked = ARGV[2], {}, 0, false, false

local function ack(id, receipt)
  redis.call('HDEL', jobs, id)
  redis.call('HDEL', live, id)
  redis.call('HINCRBY', q, 'acked', 1)
  note_settlement(id, receipt)
  return 'acked', 0, 0
end
local function nack(id, receipt, text, is_final, delay, why, chance)
  redis.call('HINCRBY', q, 'failed', 1)
  local count = count_attempt(id, text, why, is_final)
  if not count then
    has_died = true
    note_settlement(id .. ' ' .. receipt, 'dead 0 0')
    return 'dead', 0, 0
  end
  local wait = tonumber(delay) or back_off(count, tonumber(chance))
  wait_until(queue, id, text:sub(1, 1), now + wait)
  note_settlement(id .. ' ' .. receipt, string.format('delayed %d %d', now + wait, wait))
  return 'delayed', now + wait, wait
end
local function release(id, receipt, text, delay)
  local mark = end_lease(id, text)
  if (tonumber(delay) or 0) > 0 then
    wait_until(queue, id, mark, now + delay)
  else
    ready_again = ready_again + to_front(queue, { id }, mark)
  end
  note_settlement(id .. ' ' .. receipt, 'release 0 0')
  return 'released', 0, 0
end

local function settle(id, receipt, outcome, delay, why, chance)
  local text = redis.call('HGET', live, id)
  local ends_at = text and select(2, read_live(text)) == receipt and redis.call('ZSCORE', leased, id)
  if not ends_at or tonumber(ends_at) <= now then
    local before, was_acked = settled_before(id, receipt, outcome)
    if before then
      return unpack(before)
    end
    return (was_acked or redis.call('HEXISTS', jobs, id) == 1) and 'lease-lost' or 'not-found', 0, 0
  end
  if outcome ~= 'ack' and not is_checked then
    check_keys()
    is_checked = true
  end
  redis.call('ZREM', leased, id)
  if outcome == 'ack' then
    return ack(id, receipt)
  elseif outcome == 'release' then
    return release(id, receipt, text, delay)
  end
  return nack(id, receipt, text, outcome == 'final', delay, why, chance)
end

for at = 3, #ARGV, 6 do
  local became, due_at, due_in = settle(unpack(ARGV, at, at + 5))
  reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = became, due_at, due_in
end
if has_died then
  bury(queue)
end
wake(ready_again)
return reply
