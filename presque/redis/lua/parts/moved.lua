-- Begins a take (statements, not a function). If the queue hands nothing out, records that the daemon ('' for none) waits, and
-- replies 0. Else moves jobs that have come due, run out or expired. `moved` is how many became ready, `at` when the queue is
-- to be moved next, `has_priorities` whether any job has one; `lease` and `max_attempts` are the settings, if they were set; `out`
-- and `waited` are counters, and `asked` is when somebody asked before.
local facts = redis.call('HMGET', q, 'at', 'off', 'classes', 'out', 'wait', 'asked', 'lease', 'max_attempts')
local at, off, has_priorities, out, waited, asked, lease, max_attempts = unpack(facts)
if not asked or math.abs(now - asked) >= 60000 then -- it is noted once a minute that somebody asks
  --@include note_asked
  note_asked()
end
if off then
  --@include wait
  wait(daemon)
  return 0
end
local moved = 0
if at and tonumber(at) <= now then
  --@include move
  moved = move(queue, 1000)
  at = redis.call('HGET', q, 'at')
end
