-- Notes a failure in a map of `live`, which keeps the last ten.
local function note_failure(map, attempt, why)
  local failures = map.failures or {}
  failures[#failures + 1] = { attempt, now, why }
  if #failures > 10 then
    table.remove(failures, 1)
  end
  map.failures = failures
end
