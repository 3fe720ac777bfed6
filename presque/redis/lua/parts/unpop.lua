-- Puts back what `pop` took, in a script that has failed.

--@include padded
--@include rank
local function unpop()
  for i = done + 1, #popped do
    ids[#ids + 1], ranks[#ids + 1] = popped[i], popped_ranks[i]
  end
  for i = #ids, 1, -1 do
    if not ranks[i] then
      redis.pcall('LPUSH', ready, ids[i])
    else
      local is_in_front = tonumber(ranks[i]) < rank(DEFAULT_PRIORITY - 1, 0)
      redis.pcall('ZADD', is_in_front and front or behind, ranks[i], padded(ids[i]))
    end
  end
end
