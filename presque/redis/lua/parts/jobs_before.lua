-- How many jobs will be handed out before a ready one, as things stand. If more than 5,000 numbers in `ready` are before it and
-- some of them are holes, these are assumed to be spread evenly.

--@include belongs_in_ready
--@include index_in_ready
--@include padded
--@include rank
local MOST_COUNTED = 5000

-- The number of jobs in `ready` before a number.
local function before_in_ready(number)
  local low, gone = index_in_ready(number), tonumber(redis.call('HGET', q, 'gone') or 0)
  if gone == 0 or low == 0 then
    return low
  elseif low > MOST_COUNTED then
    return low - math.floor(gone * low / redis.call('LLEN', ready))
  end
  local count = 0
  for _, id in ipairs(redis.call('LRANGE', ready, 0, low - 1)) do
    count = count + (belongs_in_ready(redis.call('HGET', jobs, id)) and 1 or 0)
  end
  return count
end

local function jobs_before(id, place, at)
  local came_due = redis.call('ZCOUNT', delayed, '-inf', place == 'delayed' and '(' .. at or now) -- and not moved yet
  if place == 'delayed' then
    return redis.call('ZCOUNT', front, '-inf', rank(DEFAULT_PRIORITY, CAME_DUE + at)) + came_due
  elseif place == 'front' then
    return redis.call('ZRANK', front, padded(id)) + (at >= rank(DEFAULT_PRIORITY, WAITING) and came_due or 0)
  end
  local before = redis.call('ZCARD', front) + came_due
  if place == 'ready' then
    return before + before_in_ready(tonumber(id))
  end
  return before + redis.call('LLEN', ready) - (redis.call('HGET', q, 'gone') or 0) + redis.call('ZRANK', behind, padded(id))
end
