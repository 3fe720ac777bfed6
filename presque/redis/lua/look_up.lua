-- Reads all that is known of one job.
-- ARGV   given up at (epoch ms), queue, number
-- Reply  {state, stored job, attempts failed, max_attempts, time, history, uniq key, worker} as parts/describe.lua says, or {}
local delayed, leased, dead, jobs, attempts, limits, history, uniq_of, settings, receipts, holders = unpack(KEYS)
--@include now
--@include describe
return describe(ARGV[3]) or {}
