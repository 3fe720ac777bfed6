-- Removes up to `limit` holes from the head of `ready`, if there are more than a take skips. Returns how many, and whether there
-- may be more.
local function skip_holes(limit)
  if tonumber(redis.call('HGET', q, 'gone') or 0) <= limit then
    return 0, false
  end
  for skipped = 0, limit - 1 do
    local id = redis.call('LINDEX', ready, 0)
    local mark = id and (redis.call('HGET', jobs, id) or ''):byte(14)
    if not id or mark == 45 or mark == 120 then -- '-', 'x': the job stands here
      return skipped, false
    end
    redis.call('LPOP', ready)
    redis.call('HINCRBY', q, 'gone', -1)
  end
  return limit, true
end
