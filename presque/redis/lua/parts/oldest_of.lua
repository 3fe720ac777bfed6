-- The age (s) of the oldest ready job of the queue whose keys begin with `prefix`, nearly: of those that are next. 0 if none is.

--@include padded
local function oldest_of(prefix, came_due)
  local oldest, ids = now, redis.call('LRANGE', prefix .. 'ready', 0, 4) -- some may be holes
  for _, name in ipairs({ 'front', 'behind' }) do
    ids[#ids + 1] = plain(redis.call('ZRANGE', prefix .. name, 0, 0)[1] or 0)
  end
  ids[#ids + 1] = plain(came_due > 0 and redis.call('ZRANGE', prefix .. 'delayed', 0, 0)[1] or 0)
  for _, record in ipairs(redis.call('HMGET', prefix .. 'jobs', unpack(ids))) do
    oldest = math.min(oldest, record and tonumber(record:sub(1, 13)) or now)
  end
  return math.floor((now - oldest) / 1000)
end
