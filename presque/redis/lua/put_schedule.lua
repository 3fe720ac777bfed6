-- Stores a schedule of a queue, or changes it. One that stays the same keeps its next time, and so does one whose times stay the
-- same and go on. The times of any other begin anew, so no change makes it fire.
-- ARGV   given up at (epoch ms), queue, name, definition (a MessagePack map), its job as in insert.lua (due, options, payload), when
--        its times begin (epoch ms; '' if never, as it is paused), what the caller took for now (epoch ms, or '' if this
--        script told)
-- Reply  {1 if it is new, else 0, its next time (epoch ms) or '', the schedule}: see `schedules` in presque.redis.keys. Or now
--        (epoch ms), and nothing is done, if the caller is wrong about it by a second or more
local schedules, schedule_due, schedule_names = unpack(KEYS)
--@include now
--@include read_schedule
if ARGV[9] ~= '' and math.abs(now - ARGV[9]) >= 1000 then
  return string.format('%d', now)
end
local member = ARGV[2] .. '/' .. ARGV[3]
local new = { definition = ARGV[4], due_at = ARGV[5], options = ARGV[6], payload = ARGV[7] }
local old, at = read_schedule(member), redis.call('ZSCORE', schedule_due, member)
local same = old ~= nil
for name, value in pairs(new) do
  same = same and old[name] == value
end
if same then
  return { 0, at or '', redis.call('HGET', schedules, member) }
end
new.state = old and old.state or { created_at = now }
local before, after = cmsgpack.unpack(old and old.definition or ARGV[4]), cmsgpack.unpack(ARGV[4])
local goes_on = at and not after.paused
for _, name in ipairs({ 'cron', 'every', 'timezone' }) do
  goes_on = goes_on and before[name] == after[name]
end
at = goes_on and at or ARGV[8]
redis.call('ZCARD', schedule_names) -- fails before anything is written if the key has a wrong type
write_schedule(member, new)
redis.call('ZADD', schedule_names, 0, member)
if at ~= '' then
  redis.call('ZADD', schedule_due, at, member)
else
  redis.call('ZREM', schedule_due, member)
end
return { old and 0 or 1, at, redis.call('HGET', schedules, member) }
