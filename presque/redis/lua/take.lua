-- Takes jobs for good, and holds them until it is known whether they reached their consumer. Acknowledges the jobs that the
-- queue kept for the worker.
-- ARGV   given up at (epoch ms), queue, how many (1 to 1000), hold (ms), receipt, worker (or ''), daemon (or '')
--        to wake later if there is no job
-- Reply  {1 if the queue keeps them after arrival, else 0, the member of `held` or '', number, record, number, record, …}, or 0
--        when the queue is stopped
local q, due, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, kept, waiting, last_seen,
  worker_processed = unpack(KEYS)
--@include now
--@include acknowledge_kept
--@include take
local queue, receipt, worker = ARGV[2], ARGV[5], ARGV[6]
local reply = { 0, '' }
if worker ~= '' then
  acknowledge_kept(worker)
  reply[1] = redis.call('HEXISTS', q, 'redeliver_after')
end
local function hold(got, deadline)
  reply[2] = 'h' .. got.mark .. receipt .. ' ' .. table.concat(got.ids, ' ')
  redis.call('ZADD', held, deadline, reply[2])
  for i, id in ipairs(got.ids) do
    reply[2 * i + 1], reply[2 * i + 2] = id, got.records[i]
  end
end
local function unhold()
  redis.pcall('ZREM', held, reply[2])
end
local taken = take(queue, tonumber(ARGV[3]), tonumber(ARGV[4]), worker, ARGV[7], hold, unhold)
return taken and reply or 0
