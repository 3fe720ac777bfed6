-- Ends a leased job. The first command fails, before anything is written, if the key has a wrong type; the script has read the
-- others.

--@include note_settlement
local function acknowledge(id, receipt)
  redis.call('HDEL', jobs, id)
  redis.call('ZREM', leased, id)
  redis.call('HDEL', live, id)
  redis.call('HINCRBY', q, 'acked', 1)
  note_settlement(id, receipt)
end
