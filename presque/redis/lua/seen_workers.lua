-- Reads when workers were last seen in a partition.
-- ARGV   given up at (epoch ms), worker, worker, … (up to 100)
-- Reply  for each the time (epoch ms), or nil if the worker is unknown here
local last_seen = unpack(KEYS)
--@include now
return redis.call('ZMSCORE', last_seen, unpack(ARGV, 2))
