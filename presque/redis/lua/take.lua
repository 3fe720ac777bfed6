-- Takes jobs for good, and holds them until it is known whether they reached their consumer. Acknowledges the jobs that the
-- queue kept for the worker.
-- ARGV   given up at (epoch ms), queue, how many (1 to 1000), hold (ms), receipt, worker (or ''), daemon (or '')
--        to wake later if there is no job, 1 if each job is for another consumer and so a take of its own, else ''
-- Reply  {1 if the queue keeps them after arrival, else 0, the mark in `held`, number, record, number, record, …}, or 0
--        when the queue is stopped
local q, due, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, kept, waiting, last_seen,
  worker_processed = unpack(KEYS)
--@include now
local queue, want, length, receipt, worker, daemon = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], ARGV[6], ARGV[7]
local keeps = 0
if worker ~= '' then
  --@include acknowledge_kept
  acknowledge_kept(worker)
  keeps = redis.call('HEXISTS', q, 'redeliver_after')
end
local function store(deadline, ids, _, its_mark)
  local take = 'h' .. its_mark .. receipt .. ' '
  if ARGV[8] ~= '1' then
    redis.call('ZADD', held, deadline, take .. table.concat(ids, ' '))
    return
  end
  local members, at = {}, string.format('%d', deadline)
  for i, id in ipairs(ids) do
    members[2 * i - 1], members[2 * i] = at, take .. id
  end
  redis.call('ZADD', held, unpack(members))
end
--@include taken
local reply = { keeps, mark }
for i, id in ipairs(ids) do
  reply[2 * i + 1], reply[2 * i + 2] = id, records[i]
end
return reply
