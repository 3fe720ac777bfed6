-- Ends leased jobs; `notes` has for each its number and its receipt. Its first command fails, before anything is written, if `jobs`
-- has a wrong type; the script has read `leased` and `live` before.

--@include note_settlement
--@include time_bucket
local function acknowledge(ids, notes)
  local ended, ran, counts = redis.call('HDEL', jobs, unpack(ids)), 0, {}
  redis.call('ZREM', leased, unpack(ids))
  redis.call('HDEL', live, unpack(ids))
  for i = 2, #notes, 2 do
    if notes[i]:byte(-14) == 46 then -- '.': earlier releases do not say in a receipt when they gave it
      local run = math.max(0, now - notes[i]:sub(-13))
      local bucket = time_bucket(run)
      ran, counts[bucket] = ran + run, (counts[bucket] or 0) + 1
    end
  end
  redis.call('HINCRBY', q, 'acked', ended)
  for bucket, count in pairs(counts) do
    redis.call('HINCRBY', q, 'run' .. bucket, count)
  end
  if ran > 0 then
    redis.call('HINCRBY', q, 'run', ran)
  end
  note_settlement(unpack(notes))
end
