-- Moves delayed jobs that have come due, and jobs whose lease or hold has run out, to the front, ends expired jobs, and forgets
-- dead ones that are too old or too many: see parts/move.lua.
-- ARGV   given up at (epoch ms), queue, maximum number of each (up to 1000)
-- Reply  how many jobs were moved, ended or forgotten: that maximum or more when there is more to do; and who died since the last
-- time, a line each: number, failed attempts, why ('' if nobody did)
local q, due, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, kept, waiting = unpack(KEYS)
--@include now
--@include move
--@include wake
local made_ready, all, deaths = move(ARGV[2], tonumber(ARGV[3]), true)
wake(made_ready)
return { all, deaths or '' }
