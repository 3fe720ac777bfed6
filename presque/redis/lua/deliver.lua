-- Ends jobs taken for good that have reached their consumers. A take whose hold has run out is not touched; so it does no harm late,
-- and does not ask for the time.
-- ARGV   given up at (epoch ms), queue, member of `held`, member, … (up to 1000)
-- Reply  how many jobs it ended
local q, held, jobs, live = unpack(KEYS)
--@include end_held
--@include still_held
return end_held(still_held({ unpack(ARGV, 3) }))
