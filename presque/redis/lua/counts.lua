-- Counts a queue: its jobs by state, its counters, policy and settings.
-- ARGV   given up at (epoch ms), queue
-- Reply  see parts/counts.lua
local q, ready, front, behind, delayed, dead, jobs = unpack(KEYS)
--@include now
--@include counts
return counts()
