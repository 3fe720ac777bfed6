-- Inserts the job of a schedule now; its times go on as they were.
-- ARGV   given up at (epoch ms), queue, name, names of a definition that the caller knows
-- Reply  {number, r(eady) or d(elayed)}; as in insert.lua when it was refused; 0 when there is no such schedule, 1 when its
--        definition has other names
local q, queues, due, floor, ready, front, behind, delayed, jobs, uniq, expiring, waiting, schedules, schedule_state = unpack(KEYS)
--@include now
--@include insert_scheduled
--@include schedule_state_of
--@include split_schedule
local member, known = ARGV[2] .. '/' .. ARGV[3], {}
local value, state = redis.call('HGET', schedules, member), schedule_state_of(member)
if not value then
  return 0
end
for i = 4, #ARGV do
  known[ARGV[i]] = true
end
local schedule = split_schedule(value)
for name in pairs(cmsgpack.unpack(schedule.definition)) do
  if not known[name] then
    return 1
  end
end
local first, letters = insert_scheduled(ARGV[2], schedule, state)
if not letters then
  return first
end
note(member, state)
return { first, letters }
