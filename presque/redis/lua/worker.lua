-- Reads the record of one worker in this partition, and a page of its queues there.
-- ARGV   given up at (epoch ms), worker, the queue to start after ('' for the first page), maximum number
-- Reply  {{started (epoch ms), seen (epoch ms), processed, failed}, queue, queue, …}, each figure nil or text; {} if unknown
local last_seen, queues_of, worker_started, worker_processed, worker_failed = unpack(KEYS)
--@include now
local worker = ARGV[2]
local seen = redis.call('ZSCORE', last_seen, worker)
if not seen then
  return {}
end
local reply = {
  {
    redis.call('HGET', worker_started, worker),
    seen,
    redis.call('HGET', worker_processed, worker),
    redis.call('HGET', worker_failed, worker),
  },
}
local after = (ARGV[3] == '' and '[' or '(') .. worker .. '\0' .. ARGV[3]
for i, member in ipairs(redis.call('ZRANGEBYLEX', queues_of, after, '(' .. worker .. '\1', 'LIMIT', 0, ARGV[4])) do
  reply[i + 1] = member:sub(#worker + 2)
end
return reply
