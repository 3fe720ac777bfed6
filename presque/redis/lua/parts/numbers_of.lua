-- The numbers in a member of `held`: see presque.redis.keys.
local function numbers_of(member)
  local ids = {}
  for id in (member:match('^[^\n]+')):gmatch(' (%d+)') do
    ids[#ids + 1] = id
  end
  return ids
end
