-- Keeps jobs that have reached a 2010 worker, until its next request or until `redeliver_after` has passed. If that is no
-- longer set, ends the jobs. Jobs whose hold has run out meanwhile are no longer the worker's.
-- ARGV   given up at (epoch ms), queue, worker, member of `held`, member, … (up to 1000)
-- Reply  how many jobs it keeps or ends
local q, due, held, jobs, live, kept = unpack(KEYS)
--@include now
--@include end_held
--@include numbers_of
--@include still_held
--@include visit_by
local queue, worker = ARGV[2], ARGV[3]
local redeliver_after, members = redis.call('HGET', q, 'redeliver_after'), still_held({ unpack(ARGV, 4) })
if not redeliver_after then
  return end_held(members)
end
local count, deadline = 0, now + redeliver_after
local mine = redis.call('HGET', kept, worker) or ''
for _, member in ipairs(members) do
  local kept_member = 'k' .. member:sub(2) .. '\n' .. worker
  redis.call('ZREM', held, member)
  redis.call('ZADD', held, deadline, kept_member)
  mine = mine .. kept_member .. '\0'
  count = count + #numbers_of(member)
end
if count > 0 then
  redis.call('HSET', kept, worker, mine)
  visit_by(queue, deadline)
end
return count
