-- Changes settings of a queue, which begins with it if need be.
-- ARGV   given up at (epoch ms), queue, name, value ('' for the default), name, value, …
-- Reply  1
local queues, due, settings = unpack(KEYS)
--@include now
redis.call('SADD', queues, ARGV[2])
for i = 3, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', settings, ARGV[i])
  else
    redis.call('HSET', settings, ARGV[i], ARGV[i + 1])
  end
end
redis.call('ZADD', due, 'LT', now, ARGV[2]) -- so that the mover looks: more dead jobs may have to go
return 1
