-- Reads what is known of one worker in this partition.
-- ARGV   given up at (epoch ms), worker
-- Reply  {queues, started (epoch ms), seen (epoch ms), processed, failed}, each nil or text; {} when it is unknown
local worker_started, worker_seen, worker_processed, worker_failed, worker_queues = unpack(KEYS)
--@include now
local reply = {}
for i, key in ipairs({ worker_queues, worker_started, worker_seen, worker_processed, worker_failed }) do
  reply[i] = redis.call('HGET', key, ARGV[2])
end
return reply[1] and reply or {}
