-- Everything known about a job: {number, state, record, what `live` has of it or '', time, max_attempts of the queue, worker}. The
-- time (epoch ms) is when it is due, its lease or hold ends or it died, '' if it is ready. The worker is the one that it is kept
-- for, or ''. `place` and `at` are what `locate` told; without them it looks. Also returns the place.

--@include locate
--@include numbers_of
--@include setting
local MOST_HELD = 20000 -- jobs of takes that are looked through
local holds -- number -> {end of the hold, worker that the job is kept for or ''}

local function hold_of(id)
  if not holds then
    local members, count = redis.call('ZRANGE', held, 0, 999, 'WITHSCORES'), 0
    holds = {}
    for i = 1, #members, 2 do
      for _, number in ipairs(count < MOST_HELD and numbers_of(members[i]) or {}) do
        holds[number] = { members[i + 1], members[i]:match('\n(.*)') or '' }
        count = count + 1
      end
    end
  end
  return unpack(holds[id] or { '', '' })
end

local function describe(id, record, place, at)
  if not place then
    place, at = locate(id, record)
  end
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
  return { id, state, record, redis.call('HGET', live, id) or '', at, setting('max_attempts'), worker }, place
end
