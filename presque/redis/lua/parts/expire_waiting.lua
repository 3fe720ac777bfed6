-- Ends waiting jobs that have expired: up to `limit`, and no more than 200, because each takes a dozen commands. Returns how many.

--@include expire
--@include locate
--@include leave
--@include may_read
--@include options_of
local function expire_waiting(limit)
  local count = 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', expiring, '-inf', now, 'LIMIT', 0, math.min(limit, 200))) do
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
