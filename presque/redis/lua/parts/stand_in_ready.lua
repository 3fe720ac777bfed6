-- Gives a job that was never taken, and has the default priority again, its place in `ready`; in the hole that it left there, if it
-- did. Only after the first number there: jobs with numbers below that were taken. Before it is for `front`.
local function may_stand_in_ready(id)
  local first = redis.call('LINDEX', ready, 0)
  return first and tonumber(id) >= tonumber(first)
end

local function stand_in_ready(id)
  local number, low, length = tonumber(id), 0, redis.call('LLEN', ready)
  local high = length
  while low < high do
    local middle = math.floor((low + high) / 2)
    if tonumber(redis.call('LINDEX', ready, middle)) < number then
      low = middle + 1
    else
      high = middle
    end
  end
  local following = redis.call('LINDEX', ready, low)
  if following == id then
    redis.call('HINCRBY', q, 'gone', -1)
  elseif low == length then
    redis.call('RPUSH', ready, id)
  else
    redis.call('LINSERT', ready, 'BEFORE', following, id)
  end
end
