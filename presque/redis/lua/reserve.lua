-- Leases jobs, in order. With an idempotency key, jobs that were leased with it before and are still leased are returned again.
-- ARGV   given up at (epoch ms), queue, how many (1 to 1000), lease (ms, or '' for the queue's), receipt, worker (or ''),
--        how long to remember the idempotency key (ms, or '' without one), daemon (or '') to wake later if there is
--        no job, other queues of the same reservation …
-- Reply  {now, lease ends at (both epoch ms), number, record, attempt, max_attempts, number, …}; 0 when the queue is stopped; what
--        parts/reserved_before.lua returns; or {'elsewhere', queue}, from which something was leased with the idempotency key
local q, due, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, kept, waiting, last_seen,
  worker_processed, remembered = unpack(KEYS)
--@include now
--@include read_live
--@include remember_reservation
--@include reserved_before
--@include setting
--@include take
local queue, receipt, worker, kept_for = ARGV[2], ARGV[5], ARGV[6], ARGV[7]
if kept_for ~= '' then
  for i = 8, #ARGV do
    local other = i == 8 and queue or ARGV[i]
    local said = redis.call('HGET', remembered, other)
    if said and said:match('^%+?(%S+)') == receipt then
      return { now, now } -- another try of this request got jobs already
    elseif said and other ~= queue then
      return { 'elsewhere', other }
    end
  end
  local before = reserved_before(queue, kept_for)
  if before then
    return before
  end
end
local lease, max_attempts = tonumber(ARGV[4]) or setting('lease'), setting('max_attempts')
local reply = { now, now + lease }
local function store(got, deadline)
  local leases, texts = {}, {}
  for i, id in ipairs(got.ids) do
    local options, map = got.options[i], {}
    if got.lives[i] then
      map = select(3, read_live(got.lives[i]))
    end
    map.worker = worker ~= '' and worker or nil
    leases[2 * i - 1], leases[2 * i] = deadline, id
    texts[2 * i - 1], texts[2 * i] = id, live_text(options and 'x' or '-', receipt, map)
    local at = 4 * i - 1
    reply[at], reply[at + 1] = id, got.records[i]
    reply[at + 2], reply[at + 3] = (map.attempts or 0) + 1, options and options.limit or max_attempts
  end
  redis.call('HSET', live, unpack(texts))
  redis.call('ZADD', leased, unpack(leases))
end
local function unstore(got)
  for i, id in ipairs(got.ids) do
    redis.pcall('ZREM', leased, id)
    if got.lives[i] then
      redis.pcall('HSET', live, id, got.lives[i])
    else
      redis.pcall('HDEL', live, id)
    end
  end
end
local taken = take(queue, tonumber(ARGV[3]), lease, worker, ARGV[8], store, unstore)
if taken and taken > 0 and kept_for ~= '' then
  remember_reservation(queue, receipt, reply, kept_for)
end
return taken and reply or 0
