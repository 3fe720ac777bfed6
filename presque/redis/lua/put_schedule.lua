-- Stores a schedule of a queue, or changes it. One that stays the same keeps its next time, and so does one whose times stay the
-- same and go on. The times of any other begin anew, so no change makes it fire.
-- ARGV   given up at (epoch ms), queue, name, the schedule (see `schedules` in presque.redis.keys), when its times begin (epoch ms;
--        '' if never, as it is paused), what the caller took for now (epoch ms, or '' if this script told)
-- Reply  {1 if it is new, else 0, its next time (epoch ms) or '', its state}: see `schedule_state` there. Or now (epoch ms), and
--        nothing is done, if the caller is wrong about it by a second or more
local schedules, schedule_due, schedule_names, schedule_state = unpack(KEYS)
--@include now
--@include schedule_state_of
--@include split_schedule
if ARGV[6] ~= '' and math.abs(now - ARGV[6]) >= 1000 then
  return string.format('%d', now)
end
local member, value = ARGV[2] .. '/' .. ARGV[3], ARGV[4]
local old, at = redis.call('HGET', schedules, member), redis.call('ZSCORE', schedule_due, member)
if value == old then
  return { 0, at or '', redis.call('HGET', schedule_state, member) or '' }
end
local state = schedule_state_of(member)
redis.call('ZCARD', schedule_names) -- fails before anything is written if the key has a wrong type
local before, after = cmsgpack.unpack(split_schedule(old or value).definition), cmsgpack.unpack(split_schedule(value).definition)
local goes_on = at and not after.paused
for _, name in ipairs({ 'cron', 'every', 'timezone' }) do
  goes_on = goes_on and before[name] == after[name]
end
at = goes_on and at or ARGV[5]
redis.call('HSET', schedules, member, value)
if not old then
  state.created_at = now
  note(member, state)
  redis.call('ZADD', schedule_names, 0, member)
end
if at ~= '' then
  redis.call('ZADD', schedule_due, at, member)
else
  redis.call('ZREM', schedule_due, member)
end
return { old and 0 or 1, at, redis.call('HGET', schedule_state, member) or '' }
