-- Opens a stopped queue again.
-- ARGV   given up at (epoch ms), queue
-- Reply  1 when it was stopped, 0 when it was open, -1 when the queue does not exist
local q, ready, front, behind, delayed, waiting = unpack(KEYS)
--@include now
--@include wake
local was_paused = redis.call('HDEL', q, 'off')
local ready_now = redis.call('LLEN', ready) + redis.call('ZCARD', front) + redis.call('ZCARD', behind)
wake(ready_now + redis.call('ZCOUNT', delayed, '-inf', now))
return redis.call('HEXISTS', q, 'n') == 1 and was_paused or -1
