-- Stops keeping jobs for a worker (see `kept` in presque.redis.keys): of as many members as have about `most` jobs. Returns those that
-- are still in `held`, and whether there are more.

--@include numbers_of
--@include still_held
local function kept_members(worker, most)
  local members, left, count = {}, {}, 0
  for member in (redis.call('HGET', kept, worker) or ''):gmatch('[^%z]+') do
    local into = count < most and members or left
    into[#into + 1] = member
    count = count + #numbers_of(member)
  end
  if #members > 0 then
    members = still_held(members)
    redis.call('HDEL', kept, worker)
    if #left > 0 then
      redis.call('HSET', kept, worker, table.concat(left, '\0') .. '\0')
    end
  end
  return members, #left > 0
end
