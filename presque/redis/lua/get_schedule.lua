-- Reads a schedule of a queue.
-- ARGV   given up at (epoch ms), queue, name
-- Reply  {now (epoch ms), its next time (epoch ms) or '', the schedule, '' if there is none}: see `schedules` in presque.redis.keys
local schedules, schedule_due = unpack(KEYS)
--@include now
local member = ARGV[2] .. '/' .. ARGV[3]
return { string.format('%d', now), redis.call('ZSCORE', schedule_due, member) or '', redis.call('HGET', schedules, member) or '' }
