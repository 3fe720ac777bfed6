-- The numbers of the first `count` jobs that would be taken before those in `ready`: of `front`, and of the delayed ones that
-- have come due and were not moved yet. Both are in order; merged they are as after a move.

--@include rank
local function head(count)
  local in_front = redis.call('ZRANGE', front, 0, count - 1, 'WITHSCORES')
  local came_due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'WITHSCORES', 'LIMIT', 0, count)
  local ids, f, d = {}, 1, 1
  while #ids < count and (in_front[f] or came_due[d]) do
    local rank, due_at = tonumber(in_front[f + 1]), tonumber(came_due[d + 1])
    if not due_at or rank and (rank < due_at or rank == due_at and in_front[f] < came_due[d]) then
      ids[#ids + 1], f = plain(in_front[f]), f + 2
    else
      ids[#ids + 1], d = plain(came_due[d]), d + 2
    end
  end
  return ids
end
