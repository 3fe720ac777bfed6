-- Reads a page of a queue's jobs in one state: see parts/page.lua. A page ends after about 8 MiB.
-- ARGV   given up at (epoch ms), queue, state, cursor ('' for the first page), maximum number (up to 1000), part of the last error
--        (or ''), age of the jobs (ms, or '')
-- Reply  {cursor of the next page, '' on the last, {<see parts/describe.lua>}, …}; 0 when the queue does not exist, 1 when the call
--        must be repeated because more jobs have come due than one script moves
local q, due, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, kept, waiting = unpack(KEYS)
--@include now
--@include describe
--@include each_on_page
--@include move_if_due
if redis.call('HEXISTS', q, 'n') == 0 then
  return 0
elseif move_if_due(ARGV[2]) then
  return 1
end
local reply = { '' }
reply[1] = each_on_page(ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7], function(...)
  local told = describe(...)
  reply[#reply + 1] = told
  return #told[4]
end)
return reply
