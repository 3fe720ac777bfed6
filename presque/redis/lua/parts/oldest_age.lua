-- The age of the oldest ready job of a queue (ms), -1 if none is ready.

--@include padded
local function oldest_age()
  local age, ids = -1, redis.call('LRANGE', ready, 0, 9) -- some may be holes
  for _, key in ipairs({ front, behind }) do
    ids[#ids + 1] = plain(redis.call('ZRANGE', key, 0, 0)[1] or 0)
  end
  ids[#ids + 1] = plain(redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, 1)[1] or 0)
  for _, id in ipairs(ids) do
    local record = redis.call('HGET', jobs, id)
    if record then
      age = math.max(age, now - record:sub(1, 13))
    end
  end
  return age
end
