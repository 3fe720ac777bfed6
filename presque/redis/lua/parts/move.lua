-- Moves at most `limit` (up to 1000) delayed jobs that have come due, and as many whose lease has run out, to the front; a
-- lease, unlike the hold of a hand-off, was an attempt, and the last attempt makes the job dead. Forgets dead jobs that are
-- too old or too many. Then notes when this queue next needs it. Returns how many are ready now that were not, and how many
-- it dealt with in all.
local function move(queue, limit)
  local made_ready = 0
  local came_due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
  if #came_due > 0 then
    local ids, ranks = {}, {}
    for i = 1, #came_due, 2 do
      ids[#ids + 1] = came_due[i]
      ranks[#ranks + 1] = came_due[i + 1]
      ranks[#ranks + 1] = came_due[i]
    end
    made_ready = #ids
    redis.call('ZREM', delayed, unpack(ids))
    redis.call('ZADD', front, unpack(ranks))
  end
  local run_out = redis.call('ZRANGEBYSCORE', leased, '-inf', now, 'LIMIT', 0, limit)
  if #run_out > 0 then
    local holders, again, ran_out, were_kept = redis.call('HMGET', receipts, unpack(run_out)), {}, 0, 0
    redis.call('ZREM', leased, unpack(run_out))
    redis.call('HDEL', receipts, unpack(run_out))
    for i, id in ipairs(run_out) do
      local was_lease = holders[i] and holders[i]:byte() ~= 104 -- 'h': a hold
      ran_out = ran_out + (was_lease and 1 or 0)
      were_kept = were_kept + (holders[i] and holders[i]:byte() == 107 and 1 or 0) -- 'k'
      if not was_lease or count_attempt(id, 'the lease ran out') then
        again[#again + 1] = id
      end
    end
    redis.call('HINCRBY', failed, queue, ran_out)
    forget_kept(2 * were_kept)
    if #again > 0 then
      to_front(again)
      made_ready = made_ready + #again
    end
  end
  local trimmed = trim_dead()
  local at = trim_dead_at()
  for _, key in ipairs({ delayed, leased }) do
    at = math.min(at, tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or at))
  end
  redis.call('ZREM', due, queue) -- first, because a full Redis refuses a ZADD that is a script's first write
  if at < math.huge then
    redis.call('ZADD', due, at, queue)
  end
  return made_ready, #came_due / 2 + #run_out + trimmed
end
