-- Picks a few workers at random, and forgets those without kept jobs: they may never come back. With two picks for each job
-- that ran out, about as many remain as are active.
local function forget_kept(count)
  for _, worker in ipairs(count > 0 and redis.call('HRANDFIELD', kept, math.min(count, 20)) or {}) do
    local is_held = false
    for member in redis.call('HGET', kept, worker):gmatch('[^%z]+') do
      is_held = is_held or redis.call('ZSCORE', held, member)
    end
    if not is_held then
      redis.call('HDEL', kept, worker)
    end
  end
end
