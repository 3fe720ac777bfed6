-- Deletes a schedule of a queue; jobs that it has inserted stay.
-- ARGV   given up at (epoch ms), queue, name
-- Reply  1 when it existed, else 0
local schedules, schedule_due, schedule_names, schedule_state = unpack(KEYS)
--@include now
local member = ARGV[2] .. '/' .. ARGV[3]
redis.call('ZREM', schedule_due, member)
redis.call('ZREM', schedule_names, member)
redis.call('HDEL', schedule_state, member)
return redis.call('HDEL', schedules, member)
