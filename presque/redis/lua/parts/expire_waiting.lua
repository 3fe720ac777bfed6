-- Ends up to `limit` waiting jobs that have expired. Returns how many.

--@include expire
--@include locate
--@include leave
--@include may_read
--@include options_of
local function expire_waiting(limit)
  local count = 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', expiring, '-inf', now, 'LIMIT', 0, limit)) do
    if not may_read(id) then
      break
    end
    local record = redis.call('HGET', jobs, id)
    if record then
      leave(id, (locate(id, record)))
      expire(id, options_of(record) or {})
    end
    redis.call('ZREM', expiring, id)
    count = count + 1
  end
  return count
end
