-- Stops a queue: it takes insertions and hands nothing out.
-- ARGV   given up at (epoch ms), queue
-- Reply  1 when it was open, else 0
local queues, paused = unpack(KEYS)
--@include now
redis.call('SADD', queues, ARGV[2])
return redis.call('SADD', paused, ARGV[2])
