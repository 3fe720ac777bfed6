-- Reads and writes what is kept of a leased or failed job: see `live` in presque.redis.keys.
-- The mark, the receipt and the map of such a text.
local function read_live(text)
  local space = text:find(' ', 2, true)
  if space then
    return text:sub(1, 1), text:sub(2, space - 1), cmsgpack.unpack(text:sub(space + 1))
  end
  return text:sub(1, 1), text:sub(2), {}
end

-- Such a text; nothing if there is nothing to keep.
local function live_text(mark, receipt, map)
  if next(map) then
    return mark .. receipt .. ' ' .. cmsgpack.pack(map)
  end
  return receipt ~= '' and mark .. receipt or nil
end

local function keep_live(id, text)
  if text then
    redis.call('HSET', live, id, text)
  else
    redis.call('HDEL', live, id)
  end
end

-- Takes the receipt from a job whose lease has ended. Returns its mark.
local function end_lease(id, text)
  local mark, _, map = read_live(text)
  map.worker = nil
  keep_live(id, live_text(mark, '', map))
  return mark
end
