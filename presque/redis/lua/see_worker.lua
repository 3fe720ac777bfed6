-- Records that a worker was last seen in another partition at that time.
-- ARGV   given up at (epoch ms), worker, when (epoch ms)
-- Reply  0
local last_seen = unpack(KEYS)
--@include now
redis.call('ZREM', last_seen, '') -- first, because a full Redis refuses a ZADD as a script's first write
return redis.call('ZADD', last_seen, 'XX', 'GT', ARGV[3], ARGV[2])
