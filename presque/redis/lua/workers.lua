-- Reads all workers of a partition, and the sums of its queues' counters.
-- ARGV   given up at (epoch ms)
-- Reply  {processed, failed, {worker, queues, …}, {worker, started, …}, {worker, seen, …}, {worker, processed, …},
--        {worker, failed, …}}, times in epoch ms
local processed, failed, worker_started, worker_seen, worker_processed, worker_failed, worker_queues = unpack(KEYS)
--@include now
local function sum(key)
  local total = 0
  for _, count in ipairs(redis.call('HVALS', key)) do
    total = total + count
  end
  return total
end
local reply = { sum(processed), sum(failed) }
for _, key in ipairs({ worker_queues, worker_started, worker_seen, worker_processed, worker_failed }) do
  reply[#reply + 1] = redis.call('HGETALL', key)
end
return reply
