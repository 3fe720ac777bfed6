-- Stops keeping jobs for a worker (see `kept` in presque.redis.keys). Returns those members of `held` that were still there.
local function release_kept(worker)
  local members, released = redis.call('HGET', kept, worker), {}
  if members then
    redis.call('ZCARD', held) -- these fail before anything is written if the key has a wrong type
    redis.call('HLEN', jobs)
    redis.call('HLEN', live)
    redis.call('HDEL', kept, worker)
    for member in members:gmatch('[^%z]+') do
      if redis.call('ZREM', held, member) == 1 then
        released[#released + 1] = member
      end
    end
  end
  return released
end
