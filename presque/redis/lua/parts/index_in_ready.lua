-- The index of the first number in `ready` that is not below this one.

--@include bisect
local function index_in_ready(number)
  return bisect(0, redis.call('LLEN', ready), function(index)
    return tonumber(redis.call('LINDEX', ready, index)) < number
  end)
end
