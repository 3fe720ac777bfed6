-- The options of a record, a map; nothing if it has none: see `jobs` in presque.redis.keys.
local function options_of(record)
  local mark = record:byte(14)
  if mark == 120 or mark == 88 then -- 'x', 'X'
    return cmsgpack.unpack(record:sub(17, 16 + record:byte(15) * 256 + record:byte(16)))
  end
end
