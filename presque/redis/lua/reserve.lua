-- Leases jobs, in order. With an idempotency key, jobs that were leased with it before and are still leased are returned again.
-- ARGV   given up at (epoch ms), queue, how many (1 to 1000), lease (ms, or '' for the queue's), receipt, worker (or ''),
--        how long to remember the idempotency key (ms, or '' without one), daemon (or '') to wake later if there is
--        no job, other queues of the same reservation …
-- Reply  {now, lease ends at (both epoch ms), number, record, attempt, max_attempts, number, …}; 0 when the queue is stopped; what
--        parts/reserved_before.lua returns; or {'elsewhere', queue}, from which something was leased with the idempotency key
local q, due, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, kept, waiting, last_seen,
  worker_processed, remembered = unpack(KEYS)
--@include now
--@include setting_defaults
local queue, want, receipt, worker, kept_for, daemon = ARGV[2], tonumber(ARGV[3]), ARGV[5], ARGV[6], ARGV[7], ARGV[8]
if kept_for ~= '' then
  --@include leased_elsewhere
  local before = leased_elsewhere(queue, receipt, kept_for)
  if before then
    return before
  end
end
local lease, max_attempts = unpack(redis.call('HMGET', q, 'lease', 'max_attempts'))
local length = tonumber(ARGV[4]) or tonumber(lease or setting_defaults.lease)
max_attempts = tonumber(max_attempts or setting_defaults.max_attempts)
local reply = { now, now + length }
local function store(deadline, numbers, records, _, options, lives)
  local leases, texts = {}, {}
  for i, id in ipairs(numbers) do
    local its_options, attempts, text = options[i], 0, (options[i] and 'x' or '-') .. receipt
    if lives[i] or worker ~= '' then
      --@include read_live
      local _, _, map = read_live(lives[i] or '-')
      map.worker = worker ~= '' and worker or nil
      attempts, text = map.attempts or 0, live_text(text:sub(1, 1), receipt, map)
    end
    leases[2 * i - 1], leases[2 * i] = deadline, id
    texts[2 * i - 1], texts[2 * i] = id, text
    local at = 4 * i - 1
    reply[at], reply[at + 1] = id, records[i]
    reply[at + 2], reply[at + 3] = attempts + 1, its_options and its_options.limit or max_attempts
  end
  redis.call('HSET', live, unpack(texts))
  redis.call('ZADD', leased, unpack(leases))
end
local function unstore(numbers, lives)
  for i, id in ipairs(numbers) do
    redis.pcall('ZREM', leased, id)
    if lives[i] then
      redis.pcall('HSET', live, id, lives[i])
    else
      redis.pcall('HDEL', live, id)
    end
  end
end
--@include taken
if taken > 0 and kept_for ~= '' then
  --@include remember_reservation
  remember_reservation(queue, receipt, reply, kept_for)
end
return reply
