-- Leases jobs, in order. With an idempotency key, jobs that were leased with it before and are still leased are returned again.
-- ARGV   given up at (epoch ms), queue, how many (1 to 1000), lease (ms, or '' for the queue's), receipt, worker (or ''),
--        how long to remember the idempotency key (ms, or '' without one), daemon (or '') to wake later if there is
--        no job, other queues of the same reservation …
-- Reply  {now, lease ends at (both epoch ms), number, record, attempt, max_attempts, number, …}; their receipts are those of the
--        caller, each followed by a dot and now: so they tell how long a job has run. 0 when the queue is stopped;
--        what parts/reserved_before.lua returns; or {'elsewhere', queue}, from which something was leased with the idempotency key
local q, due, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, kept, waiting, last_seen,
  worker_processed, remembered = unpack(KEYS)
--@include now
--@include setting_defaults
local queue, want, length, receipt, worker = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], ARGV[6]
local kept_for, daemon = ARGV[7], ARGV[8]
if kept_for ~= '' then
  --@include leased_elsewhere
  local before = leased_elsewhere(queue, receipt, kept_for)
  if before then
    return before
  end
end
local given_at = string.format('.%013d', now)
local function store(deadline, ids, _, its_mark, options, lives)
  local receipts = want > 1 and kept_for == '' and { receipt, unpack(ARGV, 9) } or {}
  receipt = receipt .. given_at
  for i, each in ipairs(receipts) do
    receipts[i] = each .. given_at
  end
  if its_mark ~= '-' or worker ~= '' then
    --@include lease_all
    lease_all(ids, deadline, receipt, receipts, worker, options or {}, lives or {})
    return
  end
  local leases, texts, at = {}, {}, string.format('%d', deadline)
  for i, id in ipairs(ids) do
    leases[2 * i - 1], leases[2 * i] = at, id
    texts[2 * i - 1], texts[2 * i] = id, '-' .. (receipts[i] or receipt)
  end
  redis.call('ZADD', leased, unpack(leases))
  redis.call('HSET', live, unpack(texts))
end
--@include taken
local reply = { now, deadline }
max_attempts = tonumber(max_attempts or setting_defaults.max_attempts)
for i, id in ipairs(ids) do
  local place = 4 * i - 1
  reply[place], reply[place + 1], reply[place + 2], reply[place + 3] = id, records[i], 1, max_attempts
  if mark == 'x' then
    --@include read_live
    reply[place + 2] = 1 + (lives[i] and select(3, read_live(lives[i])).attempts or 0)
    reply[place + 3] = options[i] and options[i].limit or max_attempts
  end
end
if taken > 0 and kept_for ~= '' then
  --@include remember_reservation
  remember_reservation(queue, receipt, reply, kept_for)
end
return reply
