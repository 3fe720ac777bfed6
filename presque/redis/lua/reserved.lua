-- Finds jobs that were leased from this queue with an idempotency key and are still leased.
-- ARGV   given up at (epoch ms), queue, how long to remember the idempotency key from now on (ms)
-- Reply  see parts/reserved_before.lua, or {}
local q, leased, jobs, live, remembered = unpack(KEYS)
--@include now
--@include reserved_before
return reserved_before(ARGV[2], ARGV[3]) or {}
