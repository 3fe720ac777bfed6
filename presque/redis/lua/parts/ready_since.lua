-- Since when taken jobs were ready, as texts that begin with 13 digits (epoch ms): since they were inserted, or came due. false for
-- one that was put back. `ranks` has where they stood, false for `ready`.

--@include rank
local function ready_since(records, ranks)
  local since = {}
  for i, record in ipairs(records) do
    local place = (ranks[i] or rank(DEFAULT_PRIORITY, WAITING)) % CLASS
    since[i] = place >= WAITING and record
      or place >= CAME_DUE and string.format('%013d', math.max(place - CAME_DUE, record:sub(1, 13)))
  end
  return since
end
