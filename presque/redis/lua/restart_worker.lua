-- Resets a worker in a partition that knows it: its counters to 0 and its start to now.
-- ARGV   given up at (epoch ms), worker
-- Reply  1 when it is known here, else 0
local last_seen, worker_started, worker_processed, worker_failed = unpack(KEYS)
--@include now
local worker = ARGV[2]
redis.call('HDEL', worker_processed, worker)
redis.call('HDEL', worker_failed, worker)
if not redis.call('ZSCORE', last_seen, worker) then
  return 0
end
redis.call('HSET', worker_started, worker, now)
redis.call('ZADD', last_seen, now, worker)
return 1
