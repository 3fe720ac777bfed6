-- Counts a queue, and reads ready jobs in the order in which they would be taken; they stay where they are.
-- ARGV   given up at (epoch ms), queue, maximum number (up to 1000)
-- Reply  {<see parts/counts.lua>, record, record, …}; ends early after 8 MiB
local q, due, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, kept, waiting = unpack(KEYS)
--@include now
--@include counts
--@include each_on_page
--@include move_if_due
move_if_due(ARGV[2])
local reply = { counts() }
each_on_page('ready', '', tonumber(ARGV[3]), '', '', function(_, record)
  reply[#reply + 1] = record
end)
return reply
