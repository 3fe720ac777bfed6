-- Inserts the payloads ARGV[at], ARGV[at + 1], … all or none. `due` is epoch ms or '', `key` a uniq key or ''.
-- Returns the number of the first, the others follow it; or the job that has the uniq key already, in a table.
local function insert(queue, due_at, key, at)
  local count = #ARGV - at + 1
  local mark = '-'
  if key ~= '' then
    local existing = redis.call('HGET', uniq, key)
    if existing then
      return { existing }
    end
    mark = 'u'
  end
  -- The one write that a full Redis may refuse; nothing has changed before it.
  local first = redis.call('INCRBY', last_id, count) - count + 1
  local later = due_at ~= '' and tonumber(due_at) > now
  local head = string.format('%013d%s', now, mark)
  for from = 0, count - 1, 500 do
    local bodies, ids = {}, {}
    for i = from, math.min(from + 500, count) - 1 do
      ids[#ids + 1] = first + i
      bodies[#bodies + 1] = first + i
      bodies[#bodies + 1] = head .. ARGV[at + i]
    end
    redis.call('HSET', jobs, unpack(bodies))
    if due_at == '' then
      if redis.call('RPUSH', ready, unpack(ids)) == #ids then
        redis.call('SADD', queues, queue)
      end
    else
      local ranks = {}
      for _, id in ipairs(ids) do
        ranks[#ranks + 1] = due_at
        ranks[#ranks + 1] = padded(id)
      end
      redis.call('ZADD', later and delayed or front, unpack(ranks))
    end
  end
  if key ~= '' then
    redis.call('HSET', uniq, key, first)
    redis.call('HSET', uniq_of, first, key)
  end
  if due_at ~= '' then
    redis.call('SADD', queues, queue)
  end
  if later then
    redis.call('ZADD', due, 'LT', due_at, queue)
  else
    wake()
  end
  return first
end
