-- Reads how long the jobs of deleted queues of a partition waited and ran, and how late the mover is there.
-- ARGV   given up at (epoch ms)
-- Reply  {how long the queue has waited that is most overdue to be moved (ms, 0 if none is), field, value, field, value, …}: see
--        `timings` in presque.redis.keys
local due, timings = unpack(KEYS)
--@include now
local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2]
return { math.max(0, now - (first or now)), unpack(redis.call('HGETALL', timings)) }
