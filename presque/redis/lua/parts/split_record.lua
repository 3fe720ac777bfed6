-- The options of a record, an empty map if it has none, and its payload: see `jobs` in presque.redis.keys.
local function split_record(record)
  local mark = record:byte(14)
  if mark ~= 120 and mark ~= 88 then -- 'x', 'X'
    return {}, record:sub(15)
  end
  local ends = 16 + record:byte(15) * 256 + record:byte(16)
  return cmsgpack.unpack(record:sub(17, ends)), record:sub(ends + 1)
end
