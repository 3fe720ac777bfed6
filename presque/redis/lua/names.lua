-- Names the queues of a partition, sorted by name.
-- ARGV   given up at (epoch ms), the name to start after ('' for the first page), maximum number
-- Reply  their names
local queues = unpack(KEYS)
--@include now
return redis.call('ZRANGEBYLEX', queues, ARGV[2] == '' and '-' or '(' .. ARGV[2], '+', 'LIMIT', 0, ARGV[3])
