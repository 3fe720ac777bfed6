-- Notes that somebody asks this queue for jobs. A queue that does not exist is not created. Its first write is one that a full Redis
-- does not refuse, so that jobs are handed out then too.
local function note_asked()
  if redis.call('HEXISTS', q, 'n') == 1 then
    redis.call('HDEL', q, '')
    redis.call('HSET', q, 'asked', now)
  end
end
