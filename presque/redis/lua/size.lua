-- Counts the queues of a partition.
-- ARGV   given up at (epoch ms)
-- Reply  the number of queues
local queues = unpack(KEYS)
--@include now
return redis.call('ZCARD', queues)
