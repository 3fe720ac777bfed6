-- Registers a worker on a queue; its counters start at 0 and its time now. Jobs that the queue kept for it go to the front at
-- once: the worker has restarted without finishing them. That is a failed attempt, and after the last one a job is dead.
-- ARGV   given up at (epoch ms), queue, worker
-- Reply  1 if more jobs are kept for the worker than one call gives back, so that it must be repeated, else 0
local q, due, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, kept, waiting, last_seen,
  queues_of, workers_of, worker_started, worker_processed, worker_failed = unpack(KEYS)
--@include now
--@include check_keys
--@include count_attempt
--@include die
--@include kept_members
--@include mark_of
--@include numbers_of
--@include to_front
--@include wake
local queue, worker = ARGV[2], ARGV[3]
check_keys()
redis.call('HDEL', worker_processed, worker) -- first: a full Redis refuses a HSET as a script's first write
redis.call('HDEL', worker_failed, worker)
redis.call('HSET', worker_started, worker, now)
redis.call('ZADD', last_seen, now, worker)
redis.call('ZADD', queues_of, 0, worker .. '\0' .. queue)
redis.call('ZADD', workers_of, 0, queue .. '\0' .. worker)
local unfinished, again, marks = 0, {}, {}
local members, has_more = kept_members(worker, 1000)
for _, member in ipairs(members) do
  redis.call('ZREM', held, member)
  for _, id in ipairs(numbers_of(member)) do
    local mark = mark_of(id, member:sub(2, 2))
    if mark then
      unfinished = unfinished + 1
      if count_attempt(id, redis.call('HGET', live, id) or mark, 'the worker registered again') then
        again[#again + 1], marks[#marks + 1] = id, mark
      end
    end
  end
end
if unfinished > 0 then
  redis.call('HINCRBY', q, 'failed', unfinished)
  redis.call('HINCRBY', q, 'failed_worker', unfinished)
  wake(to_front(queue, again, marks))
end
if unfinished > #again then
  bury(queue)
end
return has_more and 1 or 0
