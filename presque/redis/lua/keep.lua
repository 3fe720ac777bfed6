-- Keeps jobs that have reached a 2010 worker, until its next request or until `redeliver_after` has passed. If that is no
-- longer set, ends the jobs. Jobs whose hold has run out meanwhile are no longer the worker's.
-- ARGV   given up at (epoch ms), queue, worker, member of `held`, member, … (up to 1000)
-- Reply  how many jobs it keeps or ends
local q, due, held, jobs, live, kept = unpack(KEYS)
--@include now
--@include end_held
--@include numbers_of
--@include visit_by
local queue, worker = ARGV[2], ARGV[3]
local redeliver_after = redis.call('HGET', q, 'redeliver_after')
redis.call('HLEN', kept) -- fails before anything is written if the key has a wrong type
local count = 0
for i = 4, #ARGV do
  if redis.call('ZREM', held, ARGV[i]) == 1 then
    if not redeliver_after then
      count = count + end_held(ARGV[i])
    else
      local member = 'k' .. ARGV[i]:sub(2) .. '\n' .. worker
      redis.call('ZADD', held, now + redeliver_after, member)
      visit_by(queue, now + redeliver_after)
      redis.call('HSET', kept, worker, (redis.call('HGET', kept, worker) or '') .. member .. '\0')
      count = count + #numbers_of(member)
    end
  end
end
return count
