-- Names the queues of a partition, in their order.
-- ARGV   given up at (epoch ms), the name after which to begin ('' at the first), how many at most
-- Reply  their names
local queues = unpack(KEYS)
--@include now
return redis.call('ZRANGEBYLEX', queues, ARGV[2] == '' and '-' or '(' .. ARGV[2], '+', 'LIMIT', 0, ARGV[3])
