-- Stops keeping jobs for a worker (see `kept` in presque.redis.keys). Returns those members of `held` that are still there.

--@include still_held
local function kept_members(worker)
  local listed, members = redis.call('HGET', kept, worker), {}
  if listed then
    for member in listed:gmatch('[^%z]+') do
      members[#members + 1] = member
      if #members == 1000 then -- no sane worker has more; the holds of the rest run out
        break
      end
    end
    members = still_held(members)
    redis.call('HDEL', kept, worker)
  end
  return members
end
