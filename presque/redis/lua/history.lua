-- Reads the history of a queue.
-- ARGV   given up at (epoch ms), queue
-- Reply  {1 if the queue exists, else 0, the last minute that was sampled (minutes since the epoch), now (epoch ms), field, row,
--        field, row, …}
local q, history, sampling = unpack(KEYS)
--@include now
local minute = tonumber(redis.call('HGET', sampling, 'minute') or -1)
return { redis.call('HEXISTS', q, 'n'), minute, now, unpack(redis.call('HGETALL', history)) }
