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
      local place = locate(id, record)
      leave(id, place)
      if expire(id, options_of(record) or {}) and place == 'ready' then -- what stays in `ready` is a hole
        redis.call('HSET', jobs, id, record:sub(1, 13) .. 'X' .. record:sub(15))
      end
    end
    redis.call('ZREM', expiring, id)
    count = count + 1
  end
  return count
end
