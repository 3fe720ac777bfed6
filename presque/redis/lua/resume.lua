-- Opens a stopped queue again.
-- ARGV   given up at (epoch ms), queue
-- Reply  1 when it was stopped, 0 when it was open, -1 when the queue does not exist
local queues, paused, ready, front, delayed, waiting = unpack(KEYS)
--@include now
--@include wake
local was_paused = redis.call('SREM', paused, ARGV[2])
wake(redis.call('LLEN', ready) + redis.call('ZCARD', front) + redis.call('ZCOUNT', delayed, '-inf', now))
return redis.call('ZSCORE', queues, ARGV[2]) and was_paused or -1
