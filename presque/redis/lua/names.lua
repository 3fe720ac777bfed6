-- Names the queues of a partition, in no order.
-- ARGV   given up at (epoch ms)
-- Reply  their names
local queues = unpack(KEYS)
--@include now
return redis.call('SMEMBERS', queues)
