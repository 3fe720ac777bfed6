-- Ends a leased job.

--@include note_settlement
local function acknowledge(id, receipt)
  redis.call('ZREM', leased, id)
  redis.call('HDEL', jobs, id)
  redis.call('HDEL', live, id)
  redis.call('HINCRBY', q, 'acked', 1)
  note_settlement(id, receipt)
end
