-- Inserts jobs with options of their own, all or nothing, and once per idempotency key.
-- ARGV   given up at (epoch ms), queue, fingerprint of the request ('' without an idempotency key), how long to remember it
--        (ms), then for each job: due (epoch ms, +ms from now, or ''), uniq key (or ''),
--        max_attempts (or ''), payload
-- Reply  {'inserted', 'fingerprint first-number letter-for-each-job'}, with letters r(eady) or d(elayed); for a repeated
--        key, what the first request got. Or {'duplicate', number}, {'full'}, or
--        {'closed'}
local last_id, queues, due, ready, front, delayed, jobs, uniq, uniq_of, limits, settings, waiting, remembered = unpack(KEYS)
--@include now
--@include insert
--@include remember
local before = answered_before(ARGV[3])
if before then
  return { 'inserted', before }
end
local first, states = insert(ARGV[2], (#ARGV - 4) / 4, function(i)
  local at = 4 * i + 1
  local due_at = ARGV[at]
  if due_at:byte() == 43 then -- '+'
    due_at = string.format('%d', now + due_at:sub(2))
  end
  return due_at, ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
end)
return states and remember(ARGV[3], first, states, ARGV[4]) or first
