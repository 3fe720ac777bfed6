-- Tells of a queue, and reads ready jobs in the order in which they would be taken; they stay where they are.
-- ARGV   given up at (epoch ms), queue, how many at most (up to 1000)
-- Reply  {<as parts/inspect.lua says>, job, job, …}; it ends early once 8 MiB are together
local queues, paused, processed, failed, ready, front, delayed, leased, dead, jobs, settings = unpack(KEYS)
--@include now
--@include rank
--@include setting
--@include inspect

-- The numbers of the first `count` jobs that would be taken before those in `ready`: of `front`, and of the delayed ones that
-- have come due and were not moved yet. Both are in order; merged they are as after a move.
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

local want = tonumber(ARGV[3])
local ids = head(want)
if #ids < want then
  for _, id in ipairs(redis.call('LRANGE', ready, 0, want - #ids - 1)) do
    ids[#ids + 1] = id
  end
end
local reply, bytes = { inspect(ARGV[2]) }, 0
for _, id in ipairs(ids) do
  local job = redis.call('HGET', jobs, id)
  bytes = bytes + #job
  reply[#reply + 1] = job
  if bytes >= 8388608 then
    break
  end
end
return reply
