-- Changes settings of a queue, creates the queue if necessary, and counts it.
-- ARGV   given up at (epoch ms), queue, name, value ('' for the default), name, value, …
-- Reply  see parts/counts.lua
local queues, due, settings, paused, processed, failed, ready, front, delayed, leased, dead, jobs = unpack(KEYS)
--@include now
--@include counts
-- Has the mover come at once, because more dead jobs may have to be trimmed.
local move_at = math.min(now, tonumber(redis.call('ZSCORE', due, ARGV[2]) or now))
redis.call('ZREM', due, ARGV[2]) -- first: a full Redis refuses a ZADD as a script's first write
redis.call('ZADD', due, move_at, ARGV[2])
redis.call('ZADD', queues, 0, ARGV[2])
for i = 3, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', settings, ARGV[i])
  else
    redis.call('HSET', settings, ARGV[i], ARGV[i + 1])
  end
end
return counts(ARGV[2])
