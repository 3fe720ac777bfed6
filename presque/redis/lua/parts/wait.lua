-- Records that a daemon (its id, or '' for none) has consumers waiting for this queue, after it has found nothing. It has
-- subscribed to its channel before. Entries expire after an hour; an unchanged one is rewritten every ten minutes.
local LONGEST_WAIT, WRITTEN_AFTER = 3600000, 600000 -- ms

local function wait(daemon)
  if daemon == '' then
    return
  end
  local since = redis.call('ZSCORE', waiting, daemon)
  if since and now - since < WRITTEN_AFTER then
    return
  end
  redis.call('ZREMRANGEBYSCORE', waiting, '-inf', now - LONGEST_WAIT) -- first: a full Redis refuses a ZADD as first write
  redis.call('ZADD', waiting, now, daemon)
  redis.call('PEXPIRE', waiting, LONGEST_WAIT)
end
