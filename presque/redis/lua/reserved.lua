-- Finds what was leased from this queue with an idempotency key and is leased still.
-- ARGV   given up at (epoch ms), queue, how long to remember the idempotency key from now on (ms)
-- Reply  as parts/reserved_before.lua says, or {}
local leased, receipts, jobs, attempts, limits, settings, remembered = unpack(KEYS)
--@include now
--@include reserved_before
return reserved_before(ARGV[2], ARGV[3]) or {}
