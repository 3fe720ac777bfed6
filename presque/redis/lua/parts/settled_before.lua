-- Remembers settlements, so that they can be repeated: for an hour, or 10,000 later settlements of the queue. A script that
-- has recorded some forgets the old ones once. An ack is recorded by the job's number (a job has only one), a nack or a release
-- by number and receipt, with its result: delayed, dead or release, when the job is due (epoch ms) and in how long (ms).
local LEAST_REMEMBERED, FORGOTTEN_AT_ONCE, LONGEST_REMEMBERED = 10000, 1000, 3600000 -- ms
local SETTLED_BY = { delayed = 'nack', dead = 'nack', release = 'release' }

local function note_settlement(member, said)
  redis.call('ZADD', acked, now, member)
  redis.call('HSET', acked_by, member, said)
end

-- The earlier answer to this outcome with this receipt: the job's result, as settle.lua replies it, and two times as above.
-- Nothing if there was no such settlement; and whether the job was acked with any receipt.
local function settled_before(id, receipt, outcome)
  local by = redis.call('HGET', acked_by, id)
  if by == receipt and outcome == 'ack' then
    return { 'acked', 0, 0 }, true
  end
  local said = outcome ~= 'ack' and redis.call('HGET', acked_by, id .. ' ' .. receipt)
  if said then
    local word, due_at, due_in = said:match('(%a+) (%d+) (%d+)')
    if SETTLED_BY[word] == (outcome == 'final' and 'nack' or outcome) then
      return { word == 'release' and 'released' or word, tonumber(due_at), tonumber(due_in) }, by
    end
  end
  return nil, by
end

local function forget_old_settlements()
  local count, old = redis.call('ZCARD', acked), {}
  if count % 16 == 0 then -- occasionally is enough
    old = redis.call('ZRANGEBYSCORE', acked, '-inf', now - LONGEST_REMEMBERED, 'LIMIT', 0, FORGOTTEN_AT_ONCE)
  end
  if #old == 0 and count >= LEAST_REMEMBERED + FORGOTTEN_AT_ONCE then
    old = redis.call('ZRANGE', acked, 0, FORGOTTEN_AT_ONCE - 1)
  end
  if #old > 0 then
    redis.call('ZREM', acked, unpack(old))
    redis.call('HDEL', acked_by, unpack(old))
  end
  if redis.call('PTTL', acked) < LONGEST_REMEMBERED then
    redis.call('PEXPIRE', acked, 2 * LONGEST_REMEMBERED)
    redis.call('PEXPIRE', acked_by, 2 * LONGEST_REMEMBERED)
  end
end
