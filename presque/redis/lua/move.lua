-- Moves a queue's due delayed jobs and run-out leases to its front.
-- ARGV   given up at (epoch ms), queue, how many of each at most (up to 1000)
-- Reply  how many were moved
local due, ready, front, delayed, leased, receipts, uniq, uniq_of = unpack(KEYS)
--@include now
--@include rank
--@include wake
--@include front
--@include move
local moved = move(ARGV[2], tonumber(ARGV[3]))
if moved > 0 then
  wake()
end
return moved
