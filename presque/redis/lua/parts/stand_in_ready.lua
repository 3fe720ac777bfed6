-- Gives a job that was never taken, and has the default priority again, its place in `ready`; in the hole that it left there, if it
-- did. Only after the first number there: jobs with numbers below that were taken. Before it is for `front`.

--@include index_in_ready
local function may_stand_in_ready(id)
  local first = redis.call('LINDEX', ready, 0)
  return first and tonumber(id) >= tonumber(first)
end

local function stand_in_ready(id)
  local following = redis.call('LINDEX', ready, index_in_ready(tonumber(id)))
  if following == id then
    redis.call('HINCRBY', q, 'gone', -1)
  elseif not following then
    redis.call('RPUSH', ready, id)
  else
    redis.call('LINSERT', ready, 'BEFORE', following, id)
  end
end
