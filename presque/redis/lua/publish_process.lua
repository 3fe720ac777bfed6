-- Keeps what a process says of itself, for a minute, and forgets those that have said nothing for long.
-- ARGV   given up at (epoch ms), the process, its figures, how long they count (ms)
-- Reply  how many processes are known
local processes, process_figures = unpack(KEYS)
--@include now
local silent = redis.call('ZRANGEBYSCORE', processes, '-inf', now - ARGV[4])
redis.call('ZREM', processes, ARGV[2], unpack(silent, 1, 100)) -- first: a full Redis refuses a ZADD as a script's first write
redis.call('HDEL', process_figures, ARGV[2], unpack(silent, 1, 100))
redis.call('ZADD', processes, now, ARGV[2])
redis.call('HSET', process_figures, ARGV[2], ARGV[3])
redis.call('PEXPIRE', processes, 60000)
redis.call('PEXPIRE', process_figures, 60000)
return redis.call('ZCARD', processes)
