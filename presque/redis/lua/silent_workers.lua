-- Names workers of a partition that were not seen there for long, longest silent first.
-- ARGV   given up at (epoch ms), for how long (ms), maximum number
-- Reply  {not seen after (epoch ms), worker, worker, …}
local last_seen = unpack(KEYS)
--@include now
local before = string.format('%d', now - ARGV[2])
return { before, unpack(redis.call('ZRANGEBYSCORE', last_seen, '-inf', before, 'LIMIT', 0, ARGV[3])) }
