-- Makes dead jobs ready again, in front as if they had come due now, with no attempts counted; without numbers up to 250 of them.
-- `max_length` does not apply.
-- ARGV   given up at (epoch ms), queue, maximum number, cursor, part of the last error, age as in purge.lua: longest dead first; or
--        '' and then numbers
-- Reply  {how many it moved, how many are still dead, the cursor for what follows, '' if that was all, numbers that were not dead …},
--        or 0 when the queue does not exist
local q, due, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, waiting = unpack(KEYS)
--@include now
--@include check_keys
--@include each_on_page
--@include rank
--@include revive
--@include wake
if redis.call('HEXISTS', q, 'n') == 0 then
  return 0
end
check_keys()
local line, moved, following, missing = {}, 0, '', {}
if ARGV[3] ~= '' then
  following = each_on_page('dead', ARGV[4], math.min(tonumber(ARGV[3]), 250), ARGV[5], ARGV[6], function(id)
    revive(ARGV[2], id, line)
    moved = moved + 1
    return 3 * redis.call('HSTRLEN', live, id) -- it was read and written
  end)
else
  for i = 4, #ARGV do
    if redis.call('ZSCORE', dead, ARGV[i]) then
      revive(ARGV[2], ARGV[i], line)
      moved = moved + 1
    else
      missing[#missing + 1] = ARGV[i]
    end
  end
end
stand(line)
wake(moved)
return { moved, redis.call('ZCARD', dead), following, unpack(missing) }
