-- Removes all data of jobs that are in no state any more, and their uniq keys if those still belong to them. Most queues have
-- only payloads, so one EXISTS usually shows that there is nothing else.
local function forget(ids)
  redis.call('HDEL', jobs, unpack(ids))
  if redis.call('EXISTS', uniq_of, attempts, limits, history, holders, run_outs) == 0 then
    return
  end
  for i, key in ipairs(redis.call('HMGET', uniq_of, unpack(ids))) do
    if key and redis.call('HGET', uniq, key) == tostring(ids[i]) then
      redis.call('HDEL', uniq, key)
    end
  end
  for _, key in ipairs({ uniq_of, attempts, limits, history, holders, run_outs }) do
    redis.call('HDEL', key, unpack(ids))
  end
end
