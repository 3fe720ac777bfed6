-- Rewrites the record of a job that will not stand in `ready`. Returns whether the job is to be put somewhere: not if it has no
-- record, or was put somewhere before.

--@include is_number
--@include rewritten
--@include spend
local function convert_record(state, id, options)
  local record = is_number(id) and redis.call('HGET', jobs, id)
  spend(2, record and #record or 0)
  if not record or is_elsewhere(record) then
    return false
  end
  redis.call('HSET', jobs, id, rewritten(record, false, options))
  state.placed, state.highest = state.placed + 1, math.max(state.highest, id)
  if state.placed % 400 == 0 then
    collectgarbage() -- Lua hashes few bytes of a long string, so similar records collide: the fewer there are at a time the better
  end
  return true
end
