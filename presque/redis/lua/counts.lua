-- Counts a queue: its jobs by state, its counters, policy and settings.
-- ARGV   given up at (epoch ms), queue
-- Reply  see parts/counts.lua
local queues, paused, processed, failed, ready, front, delayed, leased, dead, jobs, settings = unpack(KEYS)
--@include now
--@include counts
return counts(ARGV[2])
