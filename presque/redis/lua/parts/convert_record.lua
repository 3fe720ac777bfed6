-- Rewrites the record of a job that will not stand in `ready`. Returns whether the job is to be put somewhere: not if it has no
-- record, or was put somewhere before.

--@include is_number
--@include make_record
--@include spend
local function convert_record(state, id, options)
  local record = is_number(id) and redis.call('HGET', jobs, id)
  local mark = record and record:byte(14)
  spend(2, record and #record or 0)
  if not record or mark == 100 or mark == 88 then -- 'd', 'X'
    return false
  end
  local is_ours = record:find('^%d%d%d%d%d%d%d%d%d%d%d%d%d.') -- and not another program's
  if is_ours and mark == 120 then -- 'x': its number stood in `ready` twice, and the record was rewritten for the other
    redis.call('HSET', jobs, id, record:sub(1, 13) .. 'X' .. record:sub(15))
  elseif is_ours and not options then
    redis.call('HSET', jobs, id, (record:gsub('^(.............).', '%1d')))
  else
    local time = is_ours and record:sub(1, 13) or string.format('%013d', now)
    redis.call('HSET', jobs, id, make_record(time, false, options, is_ours and record:sub(15) or record))
  end
  state.placed = state.placed + 1
  if state.placed % 400 == 0 then
    collectgarbage() -- Lua hashes few bytes of a long string, so similar records collide: the fewer there are at a time the better
  end
  return true
end
