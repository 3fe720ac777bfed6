-- Takes up to `want` jobs in order out of `front` and `ready`, and leases them until `deadline` (epoch ms) under a
-- receipt. Calls `each(number, stored job)` for every one. It takes no more than about 8 MiB: few at first, then as many at a
-- time as their sizes allow. Returns how many.

--@include or_undo
--@include padded
--@include to_front
local MOST_BYTES = 8388608

local function pop_numbers(count, ids)
  local ranked = redis.call('ZPOPMIN', front, count)
  for i = 1, #ranked, 2 do
    ids[#ids + 1] = plain(ranked[i])
  end
  if #ids < count then
    for _, id in ipairs(redis.call('LPOP', ready, count - #ids) or {}) do
      ids[#ids + 1] = id
    end
  end
end

local function free_uniq(id)
  local key = redis.call('HGET', uniq_of, id)
  if key and redis.call('HGET', uniq, key) == id then
    redis.call('HDEL', uniq, key)
  end
end

-- Takes up to `count` of them. Returns how many, and their bytes.
local function pop_some(count, deadline, receipt, each, ids)
  pop_numbers(count, ids)
  if #ids == 0 then
    return 0, 0
  end
  local leases, under, bytes = {}, {}, 0
  for i, job in ipairs(redis.call('HMGET', jobs, unpack(ids))) do
    if job then -- always, unless another program wrote here
      local id = ids[i]
      each(id, job)
      leases[#leases + 1] = deadline
      leases[#leases + 1] = id
      under[#under + 1] = id
      under[#under + 1] = receipt
      bytes = bytes + #job
      if job:byte(14) == 117 then -- 'u': its uniq key is free from now on
        free_uniq(id)
      end
    end
  end
  if #leases > 0 then
    redis.call('ZADD', leased, unpack(leases))
    redis.call('HSET', receipts, unpack(under))
  end
  return #leases / 2, bytes, #ids
end

local function put_back(ids)
  if #ids > 0 then
    redis.pcall('ZREM', leased, unpack(ids))
    redis.pcall('HDEL', receipts, unpack(ids))
    pcall(to_front, ids)
  end
end

local function pop(queue, want, deadline, receipt, each)
  local taken, bytes, some = 0, 0, 8
  while taken < want and bytes < MOST_BYTES do
    local ids = {}
    local held, size, popped = or_undo(function()
      return pop_some(math.min(want - taken, some), deadline, receipt, each, ids)
    end, function()
      put_back(ids)
    end)
    if not popped then
      break
    end
    taken, bytes = taken + held, bytes + size
    some = math.max(1, math.min(1000, math.floor((MOST_BYTES - bytes) * taken / math.max(bytes, 1))))
  end
  if taken > 0 then
    redis.call('ZADD', due, 'LT', deadline, queue)
    redis.call('HINCRBY', processed, queue, taken)
  end
  return taken
end
