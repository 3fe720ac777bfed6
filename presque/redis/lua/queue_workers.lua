-- Reads who works on a queue, and the queue's counters.
-- ARGV   given up at (epoch ms), queue
-- Reply  {processed, failed, {worker, worker, …}}
local workers, processed, failed = unpack(KEYS)
--@include now
return {
  tonumber(redis.call('HGET', processed, ARGV[2]) or 0),
  tonumber(redis.call('HGET', failed, ARGV[2]) or 0),
  redis.call('SMEMBERS', workers),
}
