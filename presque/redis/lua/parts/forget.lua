-- Removes all that is known of jobs which are in no state any more, and their uniq keys where those are still theirs.
local function forget(ids)
  if redis.call('EXISTS', uniq_of) == 1 then
    for i, key in ipairs(redis.call('HMGET', uniq_of, unpack(ids))) do
      if key and redis.call('HGET', uniq, key) == tostring(ids[i]) then
        redis.call('HDEL', uniq, key)
      end
    end
    redis.call('HDEL', uniq_of, unpack(ids))
  end
  redis.call('HDEL', jobs, unpack(ids))
  redis.call('HDEL', attempts, unpack(ids))
  redis.call('HDEL', limits, unpack(ids))
  redis.call('HDEL', history, unpack(ids))
end
