-- Ends the jobs of a member that was removed from `held`, and counts them as delivered. Returns how many there were. If that fails
-- it puts the member back, to run out when the queue is moved next.
local function end_held(member)
  local ids = { member:match('^%S+ (%d+)$') } -- the usual one
  if #ids == 0 then
    --@include numbers_of
    ids = numbers_of(member)
  end
  local ended = member:byte(2) ~= 45 and redis.pcall('HDEL', live, unpack(ids)) -- '-': they have nothing but their records
  if type(ended) ~= 'table' then
    ended = redis.pcall('HDEL', jobs, unpack(ids))
  end
  if type(ended) == 'table' then
    redis.call('ZADD', held, redis.call('HGET', q, 'at') or 0, member) -- by then the mover comes
    error(ended.err, 0)
  end
  redis.call('HINCRBY', q, 'delivered', ended)
  return ended
end
