-- Reads a page of the workers of a partition with their queues there: one row per worker and queue, sorted.
-- ARGV   given up at (epoch ms), the row to start after ('' for the first page), maximum number (up to 1000)
-- Reply  {{'worker\0queue', …}, {started (epoch ms), …}, {seen (epoch ms), …}, {processed, …}, {failed, …}}, the figures for each
--        worker on this page, nil or text
local last_seen, queues_of, worker_started, worker_processed, worker_failed = unpack(KEYS)
--@include now
local rows = redis.call('ZRANGEBYLEX', queues_of, ARGV[2] == '' and '-' or '(' .. ARGV[2], '+', 'LIMIT', 0, ARGV[3])
local workers = {}
for _, row in ipairs(rows) do
  local worker = row:match('^[^%z]*')
  if workers[#workers] ~= worker then
    workers[#workers + 1] = worker
  end
end
if #workers == 0 then
  return { rows, {}, {}, {}, {} }
end
return {
  rows,
  redis.call('HMGET', worker_started, unpack(workers)),
  redis.call('ZMSCORE', last_seen, unpack(workers)),
  redis.call('HMGET', worker_processed, unpack(workers)),
  redis.call('HMGET', worker_failed, unpack(workers)),
}
