-- Puts taken jobs that did not reach their consumer back to the front, as if they had never been taken; unless they were leased
-- with an idempotency key and requested again meanwhile, because another answer may then have reached the consumer.
-- ARGV   given up at (epoch ms), queue, worker (or ''), 1 with an idempotency key, else '',
--        number, receipt, number, receipt, … (up to 1000 pairs)
-- Reply  how many it put back
local processed, ready, front, leased, receipts, uniq, uniq_of, worker_processed, waiting, remembered = unpack(KEYS)
--@include now
--@include held
--@include or_undo
--@include to_front
--@include wake
local queue, worker = ARGV[2], ARGV[3]
if ARGV[4] ~= '' and (redis.call('HGET', remembered, queue) or ''):byte() == 43 then -- '+'
  return 0
end
local ids = held(5)
if #ids > 0 then
  redis.call('ZREM', leased, unpack(ids))
  redis.call('HDEL', receipts, unpack(ids))
  or_undo(function()
    to_front(ids)
  end, function()
    for i = 5, #ARGV, 2 do
      redis.pcall('ZADD', leased, now, ARGV[i])
      redis.pcall('HSET', receipts, ARGV[i], ARGV[i + 1])
    end
  end)
  redis.call('HINCRBY', processed, queue, -#ids)
  local count = worker ~= '' and redis.call('HGET', worker_processed, worker)
  if count then -- it may have registered again meanwhile
    redis.call('HSET', worker_processed, worker, math.max(0, count - #ids))
  end
  wake(#ids)
end
return #ids
