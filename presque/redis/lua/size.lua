-- Counts the queues of a partition.
-- ARGV   given up at (epoch ms)
-- Reply  how many there are
local queues = unpack(KEYS)
--@include now
return redis.call('ZCARD', queues)
