-- The index of the first number in `ready` that is not below this one.
local function index_in_ready(number)
  local low, high = 0, redis.call('LLEN', ready)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if tonumber(redis.call('LINDEX', ready, middle)) < number then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end
