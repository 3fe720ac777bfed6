-- Tells when workers were seen last in a partition.
-- ARGV   given up at (epoch ms), worker, worker, … (up to 100)
-- Reply  for each epoch ms, or nil where it is not known there
local last_seen = unpack(KEYS)
--@include now
return redis.call('ZMSCORE', last_seen, unpack(ARGV, 2))
