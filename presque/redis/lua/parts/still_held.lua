-- Those members that are still in `held`.
local function still_held(members)
  local there = {}
  for from = 1, #members, 1000 do
    local deadlines = redis.call('ZMSCORE', held, unpack(members, from, math.min(from + 999, #members)))
    for i, deadline in ipairs(deadlines) do
      if deadline then
        there[#there + 1] = members[from + i - 1]
      end
    end
  end
  return there
end
