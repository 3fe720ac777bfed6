-- Ends the jobs of members of `held`, and counts them as delivered. Returns how many there were. Its first command fails, before
-- anything is written, if `live` or `jobs` has a wrong type; the script has read `held` before.
local MOST_AT_ONCE = 1000

local function end_some(members, ids, has_live)
  if has_live then
    redis.call('HLEN', live)
  end
  local ended = redis.call('HDEL', jobs, unpack(ids))
  redis.call('ZREM', held, unpack(members))
  if has_live then
    redis.call('HDEL', live, unpack(ids))
  end
  redis.call('HINCRBY', q, 'delivered', ended)
  return ended
end

local function end_held(members)
  local some, ids, has_live, ended = {}, {}, false, 0
  for i, member in ipairs(members) do
    local number = member:match('^%S+ (%d+)$') -- the usual one has one job
    if number then
      ids[#ids + 1] = number
    else
      --@include numbers_of
      for _, id in ipairs(numbers_of(member)) do
        ids[#ids + 1] = id
      end
    end
    some[#some + 1] = member
    has_live = has_live or member:byte(2) ~= 45 -- '-': they have nothing but their records
    if i == #members or #ids >= MOST_AT_ONCE then
      ended = ended + end_some(some, ids, has_live)
      some, ids, has_live = {}, {}, false
    end
  end
  return ended
end
