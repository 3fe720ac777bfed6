-- The age of the oldest ready job of a queue (ms), -1 if none is ready.

--@include padded
local function oldest_age()
  local age, ids = -1, redis.call('LRANGE', ready, 0, 9) -- some may be holes
  for _, key in ipairs({ front, behind }) do
    local member = redis.call('ZRANGE', key, 0, 0)[1]
    ids[#ids + 1] = member and plain(member)
  end
  local came_due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, 1)[1]
  ids[#ids + 1] = came_due and plain(came_due)
  for _, id in ipairs(ids) do
    local record = redis.call('HGET', jobs, id)
    if record then
      age = math.max(age, now - record:sub(1, 13))
    end
  end
  return age
end
