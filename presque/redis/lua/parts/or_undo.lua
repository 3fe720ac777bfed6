-- Calls `carry_out`, and `undo` if a command in it fails, for example on a key of a wrong type: Redis rolls nothing back, and a
-- job that was removed from one list and is not in another yet would be in none for good. The error is raised again. `undo`
-- uses redis.pcall, because the wrong key may be one of its own.
local function or_undo(carry_out, undo)
  local results = { pcall(carry_out) }
  if not results[1] then
    undo()
    error(results[2], 0)
  end
  return unpack(results, 2)
end
