-- Puts taken jobs that did not reach their consumer back to the front, as if they had never been taken.
-- ARGV   given up at (epoch ms), queue, worker (or ''), number, receipt, number, receipt, … (up to 1000 pairs)
-- Reply  how many it put back
local processed, ready, front, leased, receipts, uniq, uniq_of, worker_processed, waiting = unpack(KEYS)
--@include now
--@include rank
--@include wake
--@include front
--@include held
local queue, worker = ARGV[2], ARGV[3]
local ids = held(4)
if #ids > 0 then
  redis.call('ZREM', leased, unpack(ids))
  redis.call('HDEL', receipts, unpack(ids))
  to_front(ids)
  redis.call('HINCRBY', processed, queue, -#ids)
  local count = worker ~= '' and redis.call('HGET', worker_processed, worker)
  if count then -- it may have begun anew meanwhile
    redis.call('HSET', worker_processed, worker, math.max(0, count - #ids))
  end
  wake(#ids)
end
return #ids
