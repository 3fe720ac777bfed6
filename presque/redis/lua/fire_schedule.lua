-- Fires a schedule, once: if its time is no longer the one that the caller has read, another caller was first, and nothing is done.
-- Inserts its job, and sets its next time. A job that the queue refuses, or that would overlap with the last one, is skipped.
-- ARGV   given up at (epoch ms), queue, name, the time that has come (epoch ms), the definition that the caller has read, its next
--        time (epoch ms; '' if there is none), 1 to insert, 0 to let the time pass
-- Reply  1 when a job was inserted, 0 when none was, -1 when the schedule is not, or no longer, as the caller has read it
local q, queues, due, floor, ready, front, behind, delayed, dead, jobs, uniq, expiring, waiting, schedules,
  schedule_due, schedule_state = unpack(KEYS)
--@include now
--@include insert_scheduled
--@include schedule_state_of
--@include split_schedule
local queue, member = ARGV[2], ARGV[2] .. '/' .. ARGV[3]
local value, at = redis.call('HGET', schedules, member), redis.call('ZSCORE', schedule_due, member)
local schedule, state = value and split_schedule(value), schedule_state_of(member)
if not (value and at) or tonumber(at) ~= tonumber(ARGV[4]) or schedule.definition ~= ARGV[5] then
  return -1
end

local function is_unfinished(number)
  return redis.call('HEXISTS', jobs, number) == 1 and not redis.call('ZSCORE', dead, number)
end

local why, letters
if ARGV[7] == '0' then
  why = 'missed'
elseif
  state.last_number
  and cmsgpack.unpack(schedule.definition).overlap == 'skip'
  and is_unfinished(string.format('%d', state.last_number))
then
  why = 'overlap'
else
  local first
  first, letters = insert_scheduled(queue, schedule, state)
  why = not letters and first[1]
end
if why then
  state.skipped, state.why, state.why_at = (state.skipped or 0) + 1, why, now
end
-- When nothing was inserted, this is what a full Redis may refuse; then the time comes again.
note(member, state)
if ARGV[6] == '' then
  redis.call('ZREM', schedule_due, member)
else
  redis.call('ZADD', schedule_due, ARGV[6], member)
end
return letters and 1 or 0
