-- Deletes a queue: its jobs in every state, its uniq keys, counters, settings and policy. Its workers stay registered.
-- ARGV   given up at (epoch ms), queue
-- Reply  1 when the queue existed, else 0
local queues, paused, processed, failed, due, ready, front, delayed, leased, dead, receipts, jobs, uniq, uniq_of, attempts,
  limits, history, settings, acked, acked_by, kept, holders, run_outs = unpack(KEYS)
--@include now
local queue = ARGV[2]
redis.call('UNLINK', ready, front, delayed, leased, dead, receipts, jobs, uniq, uniq_of)
redis.call('UNLINK', attempts, limits, history, settings, acked, acked_by, kept, holders, run_outs)
redis.call('ZREM', due, queue)
redis.call('SREM', paused, queue)
redis.call('HDEL', processed, queue)
redis.call('HDEL', failed, queue)
return redis.call('ZREM', queues, queue)
