-- Stops keeping jobs for a worker (see `kept` in presque.redis.keys). Returns the numbers of those that are still held.

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

-- Ends these jobs.
local function acknowledge_kept(worker)
  for _, id in ipairs(release_kept(worker)) do
    forget({ id })
  end
end

-- Picks a few workers at random, and forgets those without held jobs: they may never come back. With two picks for each job
-- that ran out, about as many remain as are active.
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
