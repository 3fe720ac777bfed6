-- Puts taken jobs that did not reach their consumer back to the front, as if they had never been taken; unless they were leased
-- with an idempotency key and requested again meanwhile, because another answer may then have reached the consumer.
-- ARGV   given up at (epoch ms), queue, worker (or ''), 1 with an idempotency key, else '', member of `held` (or ''), and for
--        leases: number, receipt, number, receipt, … (up to 1000 pairs)
-- Reply  how many it put back
local q, due, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, worker_processed, waiting,
  remembered = unpack(KEYS)
--@include now
--@include check_keys
--@include numbers_of
--@include read_live
--@include to_front
--@include wake
local queue, worker, member = ARGV[2], ARGV[3], ARGV[5]
if ARGV[4] ~= '' and (redis.call('HGET', remembered, queue) or ''):byte() == 43 then -- '+'
  return 0
end
check_keys()
local count = 0
if member ~= '' and redis.call('ZREM', held, member) == 1 then
  count = to_front(queue, numbers_of(member), member:sub(2, 2))
end
for i = 6, #ARGV, 2 do
  local text = redis.call('HGET', live, ARGV[i])
  if text and select(2, read_live(text)) == ARGV[i + 1] then
    redis.call('ZREM', leased, ARGV[i])
    count = count + to_front(queue, { ARGV[i] }, end_lease(ARGV[i], text))
  end
end
if count > 0 then
  redis.call('HINCRBY', q, 'out', -count)
  local processed = worker ~= '' and redis.call('HGET', worker_processed, worker)
  if processed then -- it may have registered again meanwhile
    redis.call('HSET', worker_processed, worker, math.max(0, processed - count))
  end
  wake(count)
end
return count
