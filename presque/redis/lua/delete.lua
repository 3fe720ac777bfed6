-- Deletes a queue: its jobs in every state, its uniq keys, counters, settings and policy. Its workers stay registered, and how long
-- its jobs waited and ran stays counted in `timings`.
-- ARGV   given up at (epoch ms), queue
-- Reply  1 when the queue existed, else 0
local q, queues, due, floor, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, acked,
  acked_before, kept, history, timings = unpack(KEYS)
--@include now
local n, facts, highest = redis.call('HGET', q, 'n'), redis.call('HGETALL', q), redis.call('GET', floor)
redis.call('HLEN', timings) -- fails before anything is written if the key has a wrong type
redis.call('ZREM', queues, ARGV[2])
redis.call('ZREM', due, ARGV[2])
if n and tonumber(n) > tonumber(highest or 0) then
  redis.call('SET', floor, n) -- numbers are never used again
end
for i = 1, #facts, 2 do
  if facts[i]:match('^wait%d*$') or facts[i]:match('^run%d*$') then
    redis.call('HINCRBY', timings, facts[i], facts[i + 1])
  end
end
redis.call('UNLINK', q, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, acked, acked_before, kept)
redis.call('UNLINK', history)
return n and 1 or 0
