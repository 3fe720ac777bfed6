-- Puts the jobs that do not stand in `ready` where they are in data model 3: taken, dead, delayed, and in front.

--@include convert_record
--@include hold_job
--@include is
--@include old_jobs
--@include padded
--@include rank
--@include spend
-- A job that was put back, or of whose take nothing is known.
local function to_front_again(old, i, id)
  convert_live(old, i, id, '')
  redis.call('ZADD', front, rank(DEFAULT_PRIORITY, tonumber(id)), padded(id))
  if old.unique[i] and is(uniq, 'hash') then
    redis.call('HSETNX', uniq, old.unique[i], id)
  end
end

-- A receipt with spaces is another program's: in `held` and `live` a space ends the receipt.
local function convert_taken(old, i, id, deadline, holds)
  local letter = (old.receipt[i] or ''):match('^(%S)%S*$') or ''
  if letter == 'h' or letter == 'k' then
    hold_job(holds, old, i, id, deadline)
  elseif letter ~= '' then
    convert_live(old, i, id, old.receipt[i])
    redis.call('ZADD', leased, deadline, id)
  else
    to_front_again(old, i, id)
  end
end

local function convert_dead(old, i, id, died)
  convert_live(old, i, id, '')
  redis.call('ZADD', dead, died, id)
end

local function convert_delayed(old, i, id, due_at)
  convert_live(old, i, id, '')
  redis.call('ZADD', delayed, due_at, padded(id))
end

local function convert_front(old, i, id, old_rank)
  local due_at = tonumber(old_rank)
  if due_at < -2 ^ 52 then
    return to_front_again(old, i, id)
  end
  convert_live(old, i, id, '')
  redis.call('ZADD', front, rank(DEFAULT_PRIORITY, CAME_DUE + math.max(0, math.min(due_at, 2 ^ 46 - 1))), padded(id))
end

-- The number of a job, as such a key has it; '' if another program wrote it. One that is written in another way than data model 2
-- did was not found in `ready` either (see parts/old_places.lua), so its job would be counted in two places.
local function number_in(key, member)
  if key == old_delayed or key == old_front then
    return #member == 16 and member:match('^0*([1-9]%d*)$') or ''
  end
  return member
end

-- Converts jobs of one such key. Returns whether it is empty now.
local function convert_place(state, key, convert)
  local found, ids = is(key, 'zset') and redis.call('ZRANGE', key, 0, math.ceil(left() / 2) - 1, 'WITHSCORES') or {}, {}
  for n = 1, #found, 2 do
    ids[#ids + 1] = number_in(key, found[n])
  end
  local old, holds, count = old_jobs(ids), {}, 0
  for i, id in ipairs(ids) do
    if left() == 0 then
      break
    end
    if convert_record(state, id, old_options(old, i)) then
      convert(old, i, id, found[2 * i], holds)
    end
    count = count + 1
  end
  store_holds(holds)
  if count > 0 then
    redis.call('ZREMRANGEBYRANK', key, 0, count - 1)
  end
  return count == #ids
end

local function convert_places(state)
  local places = { { old_leased, convert_taken }, { old_dead, convert_dead }, { old_delayed, convert_delayed }, { old_front, convert_front } }
  for _, place in ipairs(state.phase == 'places' and places or {}) do
    while left() > 0 and not convert_place(state, unpack(place)) do
    end
    if left() == 0 then
      return
    end
  end
  state.phase = state.phase == 'places' and 'lost' or state.phase
end
