-- Settles leased jobs, each by its own outcome: ack ends it; nack counts the attempt as failed, and the job waits for its next
-- try or is dead; release puts it back uncounted. A receipt that is no longer the job's settles nothing. An ack is remembered
-- for an hour, or 10,000 of the queue, so that it can be repeated.
-- ARGV   given up at (epoch ms), queue, then for each job: number, receipt, outcome, delay (ms, or '' for the usual), error,
--        chance (0 to 1, spreads the back-off by a fifth either way)
-- Reply  for each job two: ack 0, release 0, delayed <due at, epoch ms>, dead 0, lost 0 (another receipt is the job's), or
--        gone 0 (there is no such job)
local due, ready, front, delayed, leased, dead, receipts, jobs, uniq, uniq_of, attempts, limits, history, settings, failed,
  acked, acked_by = unpack(KEYS)
--@include now
--@include rank
--@include wake
--@include setting
--@include front
--@include forget
--@include attempt
local queue, woken, reply = ARGV[2], false, {}

local function wait_until(id, at)
  local key = redis.call('HGET', uniq_of, id)
  if key then
    redis.call('HSETNX', uniq, key, id)
  end
  redis.call('ZADD', delayed, at, padded(id))
  redis.call('ZADD', due, 'LT', at, queue)
  return 'delayed', at
end

local function back_off(count, chance)
  local first = setting('backoff_first')
  if first == 0 then
    return 0
  end
  local delay = first * setting('backoff_factor') ^ (count - 1) -- which may be infinite
  return math.floor(math.min(delay, setting('backoff_max')) * (0.8 + 0.4 * chance))
end

local outcomes = {}
function outcomes.ack(id, receipt)
  forget({ id })
  redis.call('ZADD', acked, now, id)
  redis.call('HSET', acked_by, id, receipt)
  return 'ack', 0
end
function outcomes.nack(id, _, delay, why, chance)
  redis.call('HINCRBY', failed, queue, 1)
  local count = count_attempt(id, why)
  if not count then
    redis.call('ZADD', due, 'LT', now + setting('dead_age'), queue)
    return 'dead', 0
  end
  return wait_until(id, now + (tonumber(delay) or back_off(count, tonumber(chance))))
end
function outcomes.release(id, _, delay)
  if (tonumber(delay) or 0) > 0 then
    wait_until(id, now + delay)
  else
    to_front({ id })
    woken = true
  end
  return 'release', 0
end

local function settle(id, receipt, outcome, ...)
  local ends_at = redis.call('ZSCORE', leased, id)
  if ends_at and tonumber(ends_at) > now and redis.call('HGET', receipts, id) == receipt then
    redis.call('ZREM', leased, id)
    redis.call('HDEL', receipts, id)
    return outcomes[outcome](id, receipt, ...)
  end
  local by = redis.call('HGET', acked_by, id)
  if by == receipt and outcome == 'ack' then
    return 'ack', 0
  end
  return (by or redis.call('HEXISTS', jobs, id) == 1) and 'lost' or 'gone', 0
end

for at = 3, #ARGV, 6 do
  reply[#reply + 1], reply[#reply + 2] = settle(unpack(ARGV, at, at + 5))
end
local old = redis.call('ZRANGEBYSCORE', acked, '-inf', now - 3600000, 'LIMIT', 0, 1000)
if #old == 0 and redis.call('ZCARD', acked) > 10000 then
  old = redis.call('ZRANGE', acked, 0, 999)
end
if #old > 0 then
  redis.call('ZREM', acked, unpack(old))
  redis.call('HDEL', acked_by, unpack(old))
end
if redis.call('EXISTS', acked) == 1 then
  redis.call('PEXPIRE', acked, 3600000)
  redis.call('PEXPIRE', acked_by, 3600000)
end
if woken then
  wake()
end
return reply
