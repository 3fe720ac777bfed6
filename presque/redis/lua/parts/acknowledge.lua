-- Ends leased jobs; `notes` has for each its number and its receipt. Its first command fails, before anything is written, if `jobs`
-- has a wrong type; the script has read `leased` and `live` before.

--@include count_time
--@include note_settlement
--@include tally
local function acknowledge(ids, notes)
  local added = { acked = redis.call('HDEL', jobs, unpack(ids)) }
  redis.call('ZREM', leased, unpack(ids))
  redis.call('HDEL', live, unpack(ids))
  for i = 2, #notes, 2 do
    if notes[i]:byte(-14) == 46 then -- '.': earlier releases do not say in a receipt when they gave it
      count_time(added, 'run', math.max(0, now - notes[i]:sub(-13)))
    end
  end
  tally(added)
  note_settlement(unpack(notes))
end
