-- Ends the jobs of a member that was removed from `held`, and counts them as delivered. Returns how many there were.

--@include numbers_of
local function end_held(member)
  local ids = numbers_of(member)
  if member:byte(2) ~= 45 then -- '-': they have nothing but their records
    redis.call('HDEL', live, unpack(ids))
  end
  local ended = redis.call('HDEL', jobs, unpack(ids))
  redis.call('HINCRBY', q, 'delivered', ended)
  return ended
end
