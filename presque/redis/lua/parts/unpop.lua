-- Puts back what was taken, in a script that has failed: see parts/taken.lua.

--@include padded
--@include rank
local function unpop()
  popped, ranks = popped or {}, ranks or {}
  for i = (done or 0) + 1, #popped do
    ids[#ids + 1], ranks[#ids + 1] = popped[i], popped_ranks[i]
  end
  for i = #ids, 1, -1 do
    redis.pcall('ZREM', leased, ids[i])
    if not ranks[i] then
      redis.pcall('LPUSH', ready, ids[i])
    else
      local is_in_front = tonumber(ranks[i]) < rank(DEFAULT_PRIORITY - 1, 0)
      redis.pcall('ZADD', is_in_front and front or behind, ranks[i], padded(ids[i]))
    end
  end
end
