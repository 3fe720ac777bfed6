-- Reads a schedule of a queue.
-- ARGV   given up at (epoch ms), queue, name
-- Reply  {its next time (epoch ms) or '', the schedule}, where the schedule is nothing if there is none: see `schedules` in
--        presque.redis.keys
local schedules, schedule_due = unpack(KEYS)
--@include now
local member = ARGV[2] .. '/' .. ARGV[3]
return { redis.call('ZSCORE', schedule_due, member) or '', redis.call('HGET', schedules, member) or '' }
