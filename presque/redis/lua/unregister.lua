-- Takes a worker off a queue, acknowledges what it was given there and the queue keeps in its name, and forgets the worker
-- once it is on no queue.
-- ARGV   given up at (epoch ms), queue, worker
-- Reply  1 when it was on that queue, else 0
local workers, worker_started, worker_seen, worker_processed, worker_failed, worker_queues, leased, receipts, jobs,
  uniq, uniq_of, attempts, limits, history, holders, run_outs, kept = unpack(KEYS)
--@include now
--@include forget
--@include kept
local queue, worker = ARGV[2], ARGV[3]
acknowledge_kept(worker)
if redis.call('SREM', workers, worker) == 0 then
  return 0
end
local others = {}
for other in (redis.call('HGET', worker_queues, worker) or ''):gmatch('%S+') do
  if other ~= queue then
    others[#others + 1] = other
  end
end
if #others > 0 then
  redis.call('HSET', worker_queues, worker, table.concat(others, ' '))
else
  for _, key in ipairs({ worker_started, worker_seen, worker_processed, worker_failed, worker_queues }) do
    redis.call('HDEL', key, worker)
  end
end
return 1
