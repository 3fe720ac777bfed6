-- Moves a queue's due delayed jobs and run-out leases to its front, and forgets dead jobs that are too old.
-- ARGV   given up at (epoch ms), queue, maximum number of each (up to 1000)
-- Reply  how many jobs were moved or forgotten
local failed, due, ready, front, delayed, leased, dead, receipts, jobs, uniq, uniq_of, attempts, limits, history,
  holders, run_outs, settings, kept, waiting = unpack(KEYS)
--@include now
--@include move
--@include wake
local made_ready, all = move(ARGV[2], tonumber(ARGV[3]))
wake(made_ready)
return all
