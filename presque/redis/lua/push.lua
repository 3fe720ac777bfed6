-- Inserts jobs, all or none.
-- ARGV   given up at (epoch ms), queue, due (epoch ms or ''), uniq key (or ''), payload, payload, …
-- Reply  the first job's number, the others follow it; or {number} of the job that has the uniq key already
local last_id, queues, due, ready, front, delayed, jobs, uniq, uniq_of = unpack(KEYS)
--@include now
--@include rank
--@include wake
--@include insert
return insert(ARGV[2], ARGV[3], ARGV[4], 5)
