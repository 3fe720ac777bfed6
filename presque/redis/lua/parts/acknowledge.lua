-- Ends leased jobs; `notes` has for each its number and its receipt. What it does first fails, before anything is written, if the key
-- has a wrong type; the script has read the others.

--@include note_settlement
local function acknowledge(ids, notes)
  local ended = redis.call('HDEL', jobs, unpack(ids))
  redis.call('ZREM', leased, unpack(ids))
  redis.call('HDEL', live, unpack(ids))
  redis.call('HINCRBY', q, 'acked', ended)
  note_settlement(unpack(notes))
end
