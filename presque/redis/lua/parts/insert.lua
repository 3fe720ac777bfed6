-- Inserts `count` jobs, all or nothing. `spec(i)`, for i from 1, returns for each: when it is due (epoch ms, '' at once), its
-- uniq key (or ''), its own max_attempts (or ''), and its payload. Returns the number of the first, which the others follow,
-- and a letter for each: r(eady) or d(elayed). Or, if nothing was inserted, {'duplicate', the job that has the uniq key
-- already, or 0 if it is one of these}, {'full'}, or {'closed'} if the queue accepts none.

--@include padded
--@include refusal
--@include wake
local function insert(queue, count, spec)
  local refused = refusal(count, spec)
  if refused then
    return refused
  end
  -- The one write that a full Redis may refuse; nothing has changed before it.
  local first = redis.call('INCRBY', last_id, count) - count + 1
  local time, states, at_once_in_all = string.format('%013d', now), {}, 0
  for from = 1, count, 500 do
    local bodies, at_once, ranks, later = {}, {}, {}, {}
    for i = from, math.min(from + 499, count) do
      local due_at, key, max_attempts, payload = spec(i)
      local id = first + i - 1
      bodies[#bodies + 1] = id
      bodies[#bodies + 1] = time .. (key ~= '' and 'u' or '-') .. payload
      if due_at == '' then
        at_once[#at_once + 1] = id
      else
        local into = tonumber(due_at) > now and later or ranks
        into[#into + 1] = due_at
        into[#into + 1] = padded(id)
      end
      states[i] = due_at ~= '' and tonumber(due_at) > now and 'd' or 'r'
      if states[i] == 'd' then
        redis.call('ZADD', due, 'LT', due_at, queue)
      end
      if key ~= '' then
        redis.call('HSET', uniq, key, id)
        redis.call('HSET', uniq_of, id, key)
      end
      if max_attempts ~= '' then
        redis.call('HSET', limits, id, max_attempts)
      end
    end
    redis.call('HSET', jobs, unpack(bodies))
    at_once_in_all = at_once_in_all + #at_once + #ranks / 2
    if #at_once > 0 then
      redis.call('RPUSH', ready, unpack(at_once))
    end
    if #ranks > 0 then
      redis.call('ZADD', front, unpack(ranks))
    end
    if #later > 0 then
      redis.call('ZADD', delayed, unpack(later))
    end
  end
  redis.call('ZADD', queues, 0, queue)
  wake(at_once_in_all)
  return first, table.concat(states)
end
