-- Inserts jobs that differ only in their payloads, all or nothing.
-- ARGV   given up at (epoch ms), queue, due (epoch ms or ''), uniq key (or ''; for one job alone), payload, payload, …
-- Reply  the number of the first job, the others have the following ones; or {'duplicate', number}, {'full'}, or {'closed'}
local last_id, queues, due, ready, front, delayed, jobs, uniq, uniq_of, limits, settings, waiting = unpack(KEYS)
--@include now
--@include insert
return (insert(ARGV[2], #ARGV - 4, function(i)
  return ARGV[3], ARGV[4], '', ARGV[4 + i]
end))
