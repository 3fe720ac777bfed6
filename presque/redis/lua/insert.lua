-- Inserts jobs, with or without options, all or nothing, and once per idempotency key.
-- ARGV   given up at (epoch ms), queue, fingerprint of the request ('' without an idempotency key), how long to remember it
--        (ms), then for each job: due (epoch ms, +ms from now, or ''), its options (a MessagePack map as in a record, or ''; with
--        `expires_in` (ms from now) in the place of `expires`), payload
-- Reply  {'inserted', 'fingerprint first-number letter-for-each-job'}, with letters r(eady) or d(elayed); for a repeated
--        key, what the first request got. Or {'duplicate', number}, {'full'}, {'large'}, {'many'}, or {'closed'}
local q, queues, due, floor, ready, front, behind, delayed, jobs, uniq, expiring, waiting, remembered = unpack(KEYS)
--@include now
--@include insert
--@include remember
--@include specified
local before = answered_before(ARGV[3])
if before then
  return { 'inserted', before }
end
local first, letters = insert(ARGV[2], (#ARGV - 4) / 3, function(i)
  return specified(unpack(ARGV, 3 * i + 2, 3 * i + 4))
end)
return letters and remember(ARGV[3], first, letters, ARGV[4]) or first
