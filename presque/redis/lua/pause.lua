-- Stops a queue, and creates it if necessary: it accepts jobs and hands none out.
-- ARGV   given up at (epoch ms), queue
-- Reply  1 when it was open, else 0
local queues, paused = unpack(KEYS)
--@include now
local was_paused = redis.call('SREM', paused, ARGV[2]) -- first: a full Redis refuses a SADD as a script's first write
redis.call('SADD', paused, ARGV[2])
redis.call('ZADD', queues, 0, ARGV[2])
return 1 - was_paused
