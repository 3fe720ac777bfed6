-- Reads how long the jobs of deleted queues of a partition waited and ran.
-- ARGV   given up at (epoch ms)
-- Reply  {field, value, field, value, …}: see `timings` in presque.redis.keys
local timings = unpack(KEYS)
--@include now
return redis.call('HGETALL', timings)
