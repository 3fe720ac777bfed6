-- The numbers of up to `count` jobs that would be taken before those in `ready`, in order: the jobs in `front`, merged with
-- delayed ones that have come due and were not moved yet, as `move` would merge them.

--@include padded
local function in_front(count)
  local ranked = redis.call('ZRANGE', front, 0, count - 1, 'WITHSCORES')
  local came_due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'WITHSCORES', 'LIMIT', 0, count)
  local ids, f, d = {}, 1, 1
  while #ids < count and (ranked[f] or came_due[d]) do
    local rank, due_at = tonumber(ranked[f + 1]), tonumber(came_due[d + 1])
    if not due_at or rank and (rank < due_at or rank == due_at and ranked[f] < came_due[d]) then
      ids[#ids + 1], f = plain(ranked[f]), f + 2
    else
      ids[#ids + 1], d = plain(came_due[d]), d + 2
    end
  end
  return ids
end
