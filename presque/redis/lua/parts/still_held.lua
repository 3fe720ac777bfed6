-- Those members, up to 1,000, that are still in `held`.
local function still_held(members)
  local there = {}
  for i, deadline in ipairs(#members > 0 and redis.call('ZMSCORE', held, unpack(members)) or {}) do
    if deadline then
      there[#there + 1] = members[i]
    end
  end
  return there
end
