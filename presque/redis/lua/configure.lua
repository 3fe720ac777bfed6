-- Changes settings of a queue, creates the queue if necessary, and counts it.
-- ARGV   given up at (epoch ms), queue, name, value ('' for the default), name, value, …
-- Reply  see parts/counts.lua
local q, queues, due, floor, ready, front, behind, delayed, dead, jobs = unpack(KEYS)
--@include now
--@include counts
--@include exist
--@include visit_by
local queue = ARGV[2]
redis.call('HLEN', q) -- these two fail before anything is written if the key has a wrong type
redis.call('ZCARD', queues)
redis.call('ZREM', due, queue) -- first: a full Redis refuses a ZADD as a script's first write
exist(queue)
for i = 3, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', q, ARGV[i])
  else
    redis.call('HSET', q, ARGV[i], ARGV[i + 1])
  end
end
visit_at(queue, math.min(now, tonumber(redis.call('HGET', q, 'at') or now))) -- more dead jobs may have to be trimmed
return counts()
