-- Reads a schedule of a queue.
-- ARGV   given up at (epoch ms), queue, name
-- Reply  {now (epoch ms), its next time (epoch ms) or '', its state, the schedule, '' if there is none}: see `schedule_state` and
--        `schedules` in presque.redis.keys
local schedules, schedule_due, schedule_state = unpack(KEYS)
--@include now
local member = ARGV[2] .. '/' .. ARGV[3]
local at = redis.call('ZSCORE', schedule_due, member)
local state, value = redis.call('HGET', schedule_state, member), redis.call('HGET', schedules, member)
return { string.format('%d', now), at or '', state or '', value or '' }
