-- What this queue keeps in a worker's name (see `redeliver_after` in presque.redis.keys): the numbers of those jobs that it still
-- holds, which are kept no longer then.

--@include forget
local function release_kept(worker)
  local pairs_kept, ids = redis.call('HGET', kept, worker), {}
  if pairs_kept then
    redis.call('HDEL', kept, worker)
    for id, receipt in pairs_kept:gmatch('(%S+) (%S+)') do
      if redis.call('HGET', receipts, id) == receipt then
        redis.call('ZREM', leased, id)
        redis.call('HDEL', receipts, id)
        ids[#ids + 1] = id
      end
    end
  end
  return ids
end

-- Ends them.
local function acknowledge_kept(worker)
  for _, id in ipairs(release_kept(worker)) do
    forget({ id })
  end
end

-- Picks a few workers at random, and forgets those of whose jobs none are held any more: they may never come again. With
-- two for each job that ran out, those that are left are about as many as those that work.
local function forget_kept(count)
  for _, worker in ipairs(count > 0 and redis.call('HRANDFIELD', kept, math.min(count, 20)) or {}) do
    local is_held = false
    for id, receipt in redis.call('HGET', kept, worker):gmatch('(%S+) (%S+)') do
      is_held = is_held or redis.call('HGET', receipts, id) == receipt
    end
    if not is_held then
      redis.call('HDEL', kept, worker)
    end
  end
end
