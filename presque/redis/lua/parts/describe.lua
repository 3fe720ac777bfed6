-- Everything known about a job: {number, state, record, what `live` has of it or '', time, max_attempts of the queue, worker}. The
-- time (epoch ms) is when it is due, its lease or hold ends or it died, '' if it is ready or not known. The worker is the one that it
-- is kept for, or ''. `place` and `at` are what `locate` returned.

--@include setting
local MOST_HOLDS = 1000 -- that are searched for a job

-- The end of the hold of a job, and the worker that it is kept for.
local function hold_of(id)
  local members = redis.call('ZRANGE', held, 0, MOST_HOLDS - 1, 'WITHSCORES')
  for i = 1, #members, 2 do
    if (members[i]:match('^[^\n]+') .. ' '):find(' ' .. id .. ' ', 1, true) then
      return members[i + 1], members[i]:match('\n(.*)') or ''
    end
  end
  return '', ''
end

local function describe(id, record, place, at)
  local state, worker = 'ready', ''
  if place == 'held' then
    state = 'leased'
    at, worker = hold_of(id)
  elseif place == 'leased' or place == 'dead' or place == 'delayed' and at > now then
    state = place
  end
  if state == 'ready' then
    at = ''
  elseif at ~= '' then
    at = string.format('%.0f', at)
  end
  return { id, state, record, redis.call('HGET', live, id) or '', at, setting('max_attempts'), worker }
end
