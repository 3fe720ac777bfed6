-- Ends jobs taken for good that have reached their consumers. A take whose hold has run out is not touched, so a late call does
-- no harm, and the script does not ask for the time.
-- ARGV   given up at (epoch ms), which is ignored, queue, member of `held`, member, … (up to 1000)
-- Reply  how many jobs it ended
local q, held, jobs, live = unpack(KEYS)
--@include end_held
--@include still_held
return end_held(still_held({ unpack(ARGV, 3) }))
