-- Reads the history of all queues of a partition together.
-- ARGV   given up at (epoch ms)
-- Reply  {1, the last minute that was sampled (minutes since the epoch), now (epoch ms), field, row, field, row, …}
local all_history, sampling = unpack(KEYS)
--@include now
local minute = tonumber(redis.call('HGET', sampling, 'minute') or -1)
return { 1, minute, now, unpack(redis.call('HGETALL', all_history)) }
