-- Counts a queue's jobs by state. A job that is due counts as ready, moved or not.
-- ARGV   given up at (epoch ms), queue
-- Reply  {ready, delayed, leased, processed, failed, 1 when stopped else 0}
local paused, processed, failed, ready, front, delayed, leased = unpack(KEYS)
--@include now
local queue = ARGV[2]
local came_due = redis.call('ZCOUNT', delayed, '-inf', now)
return {
  redis.call('LLEN', ready) + redis.call('ZCARD', front) + came_due,
  redis.call('ZCARD', delayed) - came_due,
  redis.call('ZCARD', leased),
  tonumber(redis.call('HGET', processed, queue) or 0),
  tonumber(redis.call('HGET', failed, queue) or 0),
  redis.call('SISMEMBER', paused, queue),
}
