-- Calls a command that adds pairs, or single values, to a key, with any number of them.
local function in_bulk(command, key, values)
  for from = 1, #values, 2000 do
    redis.call(command, key, unpack(values, from, math.min(from + 1999, #values)))
  end
end
