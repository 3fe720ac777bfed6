-- Remembers settlements, so that they can be repeated: see `acked` in presque.redis.keys. An ack is recorded by the job's number (a
-- job has only one), a nack or a release by number and receipt, with its result: delayed, dead or release, when the job is due
-- (epoch ms) and in how long (ms).
local MOST_IN_ONE, REMEMBERED = 10000, 3600000 -- ms
local SETTLED_BY = { delayed = 'nack', dead = 'nack', release = 'release' }
local is_current = false -- whether `acked` is that for the settlements of this script

local function note_settlement(member, said)
  local left = is_current or redis.call('PTTL', acked)
  if not is_current and left ~= -2 and (left < REMEMBERED or redis.call('HLEN', acked) >= MOST_IN_ONE) then
    redis.call('RENAME', acked, acked_before)
    left = -2
  end
  redis.call('HSET', acked, member, said)
  if left == -2 then
    redis.call('PEXPIRE', acked, 2 * REMEMBERED) -- and when half of that has passed, the next one begins
  end
  is_current = true
end

local function noted(member)
  return redis.call('HGET', acked, member) or redis.call('HGET', acked_before, member)
end

-- The earlier answer to this outcome with this receipt: the job's result, as settle.lua replies it, and two times as above.
-- Nothing if there was no such settlement; and whether the job was acked with any receipt.
local function settled_before(id, receipt, outcome)
  local by = noted(id)
  if by == receipt and outcome == 'ack' then
    return { 'acked', 0, 0 }, true
  end
  local said = outcome ~= 'ack' and noted(id .. ' ' .. receipt)
  if said then
    local word, due_at, due_in = said:match('(%a+) (%d+) (%d+)')
    if SETTLED_BY[word] == (outcome == 'final' and 'nack' or outcome) then
      return { word == 'release' and 'released' or word, tonumber(due_at), tonumber(due_in) }, by
    end
  end
  return nil, by
end
