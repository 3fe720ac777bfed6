-- Reads for how long the queue of a partition that is most overdue has waited for the mover.
-- ARGV   given up at (epoch ms)
-- Reply  ms, 0 if none is due
local due = unpack(KEYS)
--@include now
local at = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2]
return at and math.max(0, now - at) or 0
