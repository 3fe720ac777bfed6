-- Stops a queue, and creates it if necessary: it accepts jobs and hands none out.
-- ARGV   given up at (epoch ms), queue
-- Reply  1 when it was open, else 0
local q, queues, floor = unpack(KEYS)
--@include now
--@include exist
redis.call('ZCARD', queues) -- fails before anything is written if the key has a wrong type
local was_paused = redis.call('HDEL', q, 'off') -- first: a full Redis refuses a HSET as a script's first write
exist(ARGV[2])
redis.call('HSET', q, 'off', 'paused')
return 1 - was_paused
