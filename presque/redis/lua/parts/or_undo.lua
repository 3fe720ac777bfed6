-- Calls `carry_out`, and `undo` when a command in it fails, as on a key of a wrong type: Redis takes nothing back, and a job that
-- was taken out of one list and is not in another yet would be in none for good. The error goes on. `undo` uses redis.pcall, for
-- the key that is wrong may be one of its own.
local function or_undo(carry_out, undo)
  local results = { pcall(carry_out) }
  if not results[1] then
    undo()
    error(results[2], 0)
  end
  return unpack(results, 2)
end
