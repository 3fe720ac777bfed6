-- Deletes a queue: its jobs in every state, its uniq keys, counters, settings and policy. Its workers stay registered.
-- ARGV   given up at (epoch ms), queue
-- Reply  1 when the queue existed, else 0
local q, queues, due, floor, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, acked,
  acked_before, kept, history = unpack(KEYS)
--@include now
local n, highest = redis.call('HGET', q, 'n'), redis.call('GET', floor)
redis.call('ZREM', queues, ARGV[2])
redis.call('ZREM', due, ARGV[2])
if n and tonumber(n) > tonumber(highest or 0) then
  redis.call('SET', floor, n) -- numbers are never used again
end
redis.call('UNLINK', q, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, acked, acked_before, kept)
redis.call('UNLINK', history)
return n and 1 or 0
