-- Ends the jobs of a member that was removed from `held`, and counts them as delivered. Returns how many there were.
local function end_held(member)
  local ids = { member:match('^%S+ (%d+)$') } -- the usual one
  if #ids == 0 then
    --@include numbers_of
    ids = numbers_of(member)
  end
  if member:byte(2) ~= 45 then -- '-': they have nothing but their records
    redis.call('HDEL', live, unpack(ids))
  end
  local ended = redis.call('HDEL', jobs, unpack(ids))
  redis.call('HINCRBY', q, 'delivered', ended)
  return ended
end
