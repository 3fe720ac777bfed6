-- Moves up to `limit` delayed jobs that have come due to their places. Returns how many.

--@include may_read
--@include options_of
--@include padded
--@include rank
local function move_due(limit)
  local came_due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
  local has_priorities = #came_due > 0 and redis.call('HGET', q, 'classes')
  local line, members = {}, {}
  for i = 1, #came_due, 2 do
    local id, options = plain(came_due[i]), {}
    if has_priorities then
      if not may_read(id) then
        break
      end
      options = options_of(redis.call('HGET', jobs, id)) or {}
    end
    line_up(line, id, options.priority or DEFAULT_PRIORITY, CAME_DUE + came_due[i + 1])
    members[#members + 1] = came_due[i]
  end
  if #members > 0 then
    redis.call('ZREM', delayed, unpack(members))
    stand(line)
  end
  return #members
end
