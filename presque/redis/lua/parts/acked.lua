-- Remembers acknowledgements, so that they can be repeated: for an hour, or the last 10,000 of the queue. A script that has
-- noted some forgets the old ones once.
local MOST_REMEMBERED, LONGEST_REMEMBERED = 10000, 3600000 -- ms

local function note_ack(id, receipt)
  redis.call('ZADD', acked, now, id)
  redis.call('HSET', acked_by, id, receipt)
end

local function forget_old_acks()
  local old = redis.call('ZRANGEBYSCORE', acked, '-inf', now - LONGEST_REMEMBERED, 'LIMIT', 0, 1000)
  if #old == 0 and redis.call('ZCARD', acked) > MOST_REMEMBERED then
    old = redis.call('ZRANGE', acked, 0, 999)
  end
  if #old > 0 then
    redis.call('ZREM', acked, unpack(old))
    redis.call('HDEL', acked_by, unpack(old))
  end
  redis.call('PEXPIRE', acked, LONGEST_REMEMBERED)
  redis.call('PEXPIRE', acked_by, LONGEST_REMEMBERED)
end
