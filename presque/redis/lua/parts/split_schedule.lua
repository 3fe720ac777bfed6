-- A schedule as `schedules` has it: its `definition`, as MessagePack, and its job, as `specified` takes it, in `due_at`, `options`
-- and `payload`.
local function split_schedule(value)
  local definition, options, due_at, at = value:match('^(%d+) (%d+) (%+?%d*)\n()')
  local middle, ends = at + definition, at + definition + options
  return {
    definition = value:sub(at, middle - 1),
    due_at = due_at,
    options = value:sub(middle, ends - 1),
    payload = value:sub(ends),
  }
end
