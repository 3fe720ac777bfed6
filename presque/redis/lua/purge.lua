-- Deletes some of a queue's jobs in one state, in order: see parts/page.lua.
-- ARGV   given up at (epoch ms), queue, state, cursor ('' for the beginning), maximum number (up to 1000), part of the last error
--        (or ''), age of the jobs (ms, or '')
-- Reply  {how many it deleted, the cursor for what follows, '' if that was all}; 0 when the queue does not exist. It deletes none
--        when more jobs have come due than one script moves
local q, due, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, kept, waiting = unpack(KEYS)
--@include now
--@include check_keys
--@include delete_job
--@include each_on_page
--@include move_if_due
--@include skip_holes
if redis.call('HEXISTS', q, 'n') == 0 then
  return 0
elseif move_if_due(ARGV[2]) then
  return { 0, ARGV[4] == '' and '0 0' or ARGV[4] }
end
check_keys()
local count = 0
local following = each_on_page(ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7], function(id, record, place)
  delete_job(id, record, place)
  count = count + 1
end)
skip_holes(2000)
if count > 0 then
  redis.call('HINCRBY', q, 'deleted', count)
end
return { count, following }
