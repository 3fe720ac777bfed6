-- Names the queues of a partition that need moving now, the most overdue first.
-- ARGV   given up at (epoch ms), maximum number
-- Reply  their names
local due = unpack(KEYS)
--@include now
return redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, ARGV[2])
