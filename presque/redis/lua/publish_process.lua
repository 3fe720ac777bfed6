-- Keeps what a process says of itself, and forgets those that have said nothing for long.
-- ARGV   given up at (epoch ms), the process, its figures, how long they count (ms)
-- Reply  what all say: see parts/said_by_processes.lua
local processes, process_figures = unpack(KEYS)
--@include now
--@include said_by_processes
local EXPIRY = 60000 -- ms after the last process of the store
local since = now - ARGV[4]
local silent = redis.call('ZRANGEBYSCORE', processes, '-inf', since, 'LIMIT', 0, 100)
redis.call('ZREM', processes, ARGV[2], unpack(silent)) -- first: a full Redis refuses a ZADD as a script's first write
redis.call('HDEL', process_figures, ARGV[2], unpack(silent))
redis.call('ZADD', processes, now, ARGV[2])
redis.call('HSET', process_figures, ARGV[2], ARGV[3])
redis.call('PEXPIRE', processes, EXPIRY)
redis.call('PEXPIRE', process_figures, EXPIRY)
return said_by_processes(since)
