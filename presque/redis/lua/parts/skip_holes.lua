-- Removes about `limit` holes, at the most, from the head of `ready`. Returns how many, and whether there may be more.

--@include belongs_in_ready
local function skip_holes(limit)
  local skipped = 0
  while skipped < limit and tonumber(redis.call('HGET', q, 'gone') or 0) > 0 do
    local ids, holes = redis.call('LRANGE', ready, 0, 999), 0
    while ids[holes + 1] and not belongs_in_ready(redis.call('HGET', jobs, ids[holes + 1])) do
      holes = holes + 1
    end
    if holes > 0 then
      redis.call('LTRIM', ready, holes, -1)
      redis.call('HINCRBY', q, 'gone', -holes)
    end
    skipped = skipped + holes
    if holes < #ids or holes == 0 then
      return skipped, false
    end
  end
  return skipped, skipped >= limit
end
