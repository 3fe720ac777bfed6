-- Registers a worker on a queue; its counters start at 0 and its time now. Jobs that the queue kept for it go to the front at
-- once: the worker has restarted without finishing them. That is a failed attempt, and after the last one a job is dead.
-- ARGV   given up at (epoch ms), queue, worker
-- Reply  how many jobs it gave back
local due, ready, front, leased, dead, receipts, jobs, uniq, uniq_of, attempts, limits, history, holders, run_outs, settings,
  failed, kept, waiting,
  last_seen, queues_of, workers_of, worker_started, worker_processed, worker_failed = unpack(KEYS)
--@include now
--@include count_attempt
--@include release_kept
--@include setting
--@include to_front
--@include trim_dead
--@include wake
local queue, worker = ARGV[2], ARGV[3]
redis.call('HDEL', worker_processed, worker) -- first: a full Redis refuses a HSET as a script's first write
redis.call('HDEL', worker_failed, worker)
redis.call('HSET', worker_started, worker, now)
redis.call('ZADD', last_seen, now, worker)
redis.call('ZADD', queues_of, 0, worker .. '\0' .. queue)
redis.call('ZADD', workers_of, 0, queue .. '\0' .. worker)
local unfinished, again = release_kept(worker), {}
for _, id in ipairs(unfinished) do
  if count_attempt(id, 'the worker registered again') then
    again[#again + 1] = id
  end
end
if #unfinished > 0 then
  redis.call('HINCRBY', failed, queue, #unfinished)
end
if #again > 0 then
  to_front(again)
  wake(#again)
end
if #unfinished > #again then
  trim_dead()
  redis.call('ZADD', due, 'LT', math.min(trim_dead_at(), now + setting('dead_age')), queue)
end
return #unfinished
