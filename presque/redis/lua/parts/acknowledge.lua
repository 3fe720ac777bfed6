-- Ends leased jobs; `notes` has for each its number and its receipt. Its first command fails, before anything is written, if `jobs`
-- has a wrong type; the script has read `leased` and `live` before.

--@include note_settlement
local function acknowledge(ids, notes)
  local ended = redis.call('HDEL', jobs, unpack(ids))
  redis.call('ZREM', leased, unpack(ids))
  redis.call('HDEL', live, unpack(ids))
  redis.call('HINCRBY', q, 'acked', ended)
  note_settlement(unpack(notes))
end
