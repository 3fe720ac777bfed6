-- Ends up to `limit` leases, and holds of about as many jobs, that have run out: see parts/move.lua. Returns how many jobs became
-- ready, and how many it processed in all.

--@include back_off
--@include count_attempt
--@include forget_kept
--@include mark_of
--@include may_read
--@include numbers_of
--@include read_live
--@include to_front
--@include wait_until
local function spread(id) -- a deterministic chance (0 to 1) that differs by job and time
  return ((tonumber(id) % 9973) * 7919 + now) % 1000 / 1000
end

local attempts = 0 -- that this script has ended

-- Counts the attempt of a job. Returns whether it is ready again, else it waits or is dead.
local function run_out_lease(queue, id, mark, text)
  attempts = attempts + 1
  local count, map = count_attempt(id, text, 'the lease ran out')
  if not count then
    return false
  end
  map.run_outs = (map.run_outs or 0) + 1
  keep_live(id, live_text(mark, '', map))
  local wait = map.run_outs > 1 and back_off(count, spread(id)) or 0
  if wait > 0 then
    wait_until(queue, id, mark, now + wait)
  end
  return wait == 0
end

local function run_out_leases(queue, limit)
  local again, marks, count = {}, {}, 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', leased, '-inf', now, 'LIMIT', 0, limit)) do
    local text = redis.call('HGET', live, id) or 'x'
    local mark = text:sub(1, 1)
    if (mark == 'x' or #text > 100) and not may_read(id) then
      break
    end
    redis.call('ZREM', leased, id)
    count = count + 1
    if run_out_lease(queue, id, mark, text) then
      again[#again + 1], marks[#marks + 1] = id, mark
    end
  end
  return to_front(queue, again, marks), count
end

-- Ends one hold. Returns how many jobs are ready again, and how many there were.
local function run_out_hold(queue, member)
  local ids, again, mark = numbers_of(member), {}, member:sub(2, 2)
  if member:byte() == 107 then -- 'k': it was an attempt
    for _, id in ipairs(ids) do
      local own = mark_of(id, mark)
      if own and run_out_lease(queue, id, own, redis.call('HGET', live, id) or own) then
        again[#again + 1] = id
      end
    end
    forget_kept(2 * #ids)
  else
    again = ids
  end
  return to_front(queue, again, mark), #ids
end

local function move_run_out(queue, limit)
  local again, all = run_out_leases(queue, limit)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', held, '-inf', now, 'LIMIT', 0, limit)) do
    if all >= limit or member:byte(2) ~= 45 and not may_read(member:match(' (%d+)')) then -- '-': it reads no records
      break
    end
    redis.call('ZREM', held, member)
    local ready_again, count = run_out_hold(queue, member)
    again, all = again + ready_again, all + count
  end
  if attempts > 0 then
    redis.call('HINCRBY', q, 'failed', attempts)
    redis.call('HINCRBY', q, 'failed_lease', attempts)
    --@include note_run_outs
    note_run_outs(attempts)
  end
  return again, all
end
