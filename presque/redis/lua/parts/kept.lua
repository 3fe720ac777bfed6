-- Ends the jobs that this queue keeps in a worker's name (see `redeliver_after` in presque.keys), as far as it still holds
-- them.
local function acknowledge_kept(worker)
  local pairs_kept = redis.call('HGET', kept, worker)
  if not pairs_kept then
    return
  end
  redis.call('HDEL', kept, worker)
  for id, receipt in pairs_kept:gmatch('(%S+) (%S+)') do
    if redis.call('HGET', receipts, id) == receipt then
      redis.call('ZREM', leased, id)
      redis.call('HDEL', receipts, id)
      forget({ id })
    end
  end
end
