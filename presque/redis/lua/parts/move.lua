-- Moves up to `limit` (1000) jobs whose lease or hold has run out, and as many delayed ones that have come due, to the front, and
-- ends as many that have expired. A lease, unlike the hold of a hand-off, was an attempt: the last one makes the job dead, and from
-- the second one that runs out on, the job waits for the back-off, because it may be what killed its workers. Forgets dead jobs
-- that are too old or too many. Then sets when this queue must be moved next. Returns how many jobs became ready, how many it
-- processed in all (`limit` or more if there is more to do), and the deaths that were noted, if it `tells` of them. Else the mover
-- comes for them.

--@include check_keys
--@include expire_waiting
--@include move_due
--@include move_run_out
--@include skip_holes
--@include trim_dead
--@include visit_by
local function move(queue, limit, tells)
  check_keys()
  local ready_again, run_out = move_run_out(queue, limit)
  local expired = expire_waiting(limit)
  local came_due = move_due(limit)
  local trimmed = trim_dead()
  local skipped, has_more_holes = skip_holes(20000)
  local died = redis.call('HGET', live, 'deaths')
  if died and tells then
    redis.call('HDEL', live, 'deaths')
  end
  local at = has_more_holes and now or trim_dead_at()
  for _, key in ipairs({ delayed, leased, held, expiring }) do
    at = math.min(at, tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or at))
  end
  local has_more = at <= now
  if tells or not died then -- else it stays due, as it was when this was called
    visit_at(queue, at)
  end
  local all = run_out + expired + came_due + trimmed + skipped
  return ready_again + came_due + math.min(skipped, 1), has_more and math.max(all, limit) or all, died
end
