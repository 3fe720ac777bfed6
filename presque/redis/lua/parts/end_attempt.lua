-- Settles a leased job by a nack, final nack or release: see settle.lua. Returns the three values of its reply, and whether the job
-- is ready again. A script calls `check_keys` before the first job, and `bury` once if a job died.

--@include back_off
--@include count_attempt
--@include note_settlement
--@include read_live
--@include to_front
--@include wait_until
local function release(queue, id, mark, delay)
  if (tonumber(delay) or 0) > 0 then
    wait_until(queue, id, mark, now + delay)
    return 0
  end
  return to_front(queue, { id }, mark)
end

local function end_attempt(queue, id, receipt, text, outcome, delay, why, chance)
  local mark = text:sub(1, 1)
  redis.call('ZREM', leased, id)
  if outcome == 'release' then
    end_lease(id, text)
    local count = release(queue, id, mark, delay)
    note_settlement(id .. ' ' .. receipt, 'release 0 0')
    return 'released', 0, 0, count > 0
  end
  redis.call('HINCRBY', q, 'failed', 1)
  local count = count_attempt(id, text, why, outcome == 'final')
  if not count then
    note_settlement(id .. ' ' .. receipt, 'dead 0 0')
    return 'dead', 0, 0
  end
  local wait = tonumber(delay) or back_off(count, tonumber(chance))
  wait_until(queue, id, mark, now + wait)
  note_settlement(id .. ' ' .. receipt, string.format('delayed %d %d', now + wait, wait))
  return 'delayed', now + wait, wait
end
