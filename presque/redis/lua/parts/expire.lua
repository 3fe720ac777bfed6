-- Ends a job that has expired and was removed from its place. With the setting on_expiry it is dead, and the
-- function returns true; a script that calls it must call `bury` then.

--@include die
--@include note_failure
--@include read_live
--@include waits_no_more
local function expire(id, options)
  waits_no_more(id, options)
  if redis.call('HGET', q, 'on_expiry') ~= 'dead' then
    redis.call('HDEL', jobs, id)
    redis.call('HDEL', live, id)
    redis.call('HINCRBY', q, 'expired', 1)
    return false
  end
  local record, text = redis.call('HGET', jobs, id), redis.call('HGET', live, id)
  redis.call('HSET', jobs, id, record:sub(1, 13) .. 'X' .. record:sub(15)) -- its number may be in `ready` still, as a hole
  local map = text and select(3, read_live(text)) or {}
  note_failure(map, map.attempts or 0, 'expired')
  keep_live(id, live_text('x', '', map))
  die(id, map.attempts or 0, 'expired')
  return true
end
