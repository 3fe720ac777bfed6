-- Takes jobs for good, and holds them until it is known whether they reached their consumer. Where the queue has
-- `redeliver_after`, a worker's jobs are leased in its name instead, and those that it was given before are acknowledged.
-- ARGV   given up at (epoch ms), queue, how many (1 to 1000), hold (ms), receipt, worker (or '')
-- Reply  {1 when leased in the worker's name else 0, number, job, number, job, …}, or 0 when the queue is stopped
local paused, processed, due, ready, front, delayed, leased, dead, receipts, jobs, uniq, uniq_of, attempts, limits, history,
  settings, kept, workers, worker_started, worker_seen, worker_processed, worker_queues = unpack(KEYS)
--@include now
--@include rank
--@include setting
--@include front
--@include forget
--@include attempt
--@include move
--@include pop
--@include kept
--@include worker
local queue, want, hold, receipt, worker = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], ARGV[6]
if redis.call('SISMEMBER', paused, queue) == 1 then
  return 0
end
local move_at = redis.call('ZSCORE', due, queue)
if move_at and tonumber(move_at) <= now then
  move(queue, 1000)
end
local redeliver_after = worker ~= '' and redis.call('HGET', settings, 'redeliver_after')
if redeliver_after then
  acknowledge_kept(worker)
  hold, receipt = tonumber(redeliver_after), 'k' .. receipt
else
  receipt = 'h' .. receipt
end
local reply, mine = { redeliver_after and 1 or 0 }, {}
local taken = pop(queue, want, now + hold, receipt, function(id, job)
  reply[#reply + 1] = id
  reply[#reply + 1] = job
  mine[#mine + 1] = id .. ' ' .. receipt
end)
if worker ~= '' then
  if redeliver_after and taken > 0 then
    redis.call('HSET', kept, worker, table.concat(mine, ' '))
  end
  enrol(queue, worker)
  redis.call('HINCRBY', worker_processed, worker, taken)
end
return reply
