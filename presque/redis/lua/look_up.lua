-- Reads everything known about one job.
-- ARGV   given up at (epoch ms), queue, number
-- Reply  {state, stored job, attempts failed, max_attempts, time, history, uniq key, worker} see parts/describe.lua, or {}
local delayed, leased, dead, jobs, attempts, limits, history, uniq_of, settings, receipts, holders = unpack(KEYS)
--@include now
--@include describe
return describe(ARGV[3]) or {}
