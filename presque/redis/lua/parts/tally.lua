-- Adds to several counters of `q`, by two commands however many they are: `added` has how much by field.
local function tally(added)
  local names, values = {}, {}
  for name in pairs(added) do
    names[#names + 1] = name
  end
  local before = redis.call('HMGET', q, unpack(names))
  for i, name in ipairs(names) do
    values[2 * i - 1], values[2 * i] = name, (before[i] or 0) + added[name]
  end
  redis.call('HSET', q, unpack(values))
end
