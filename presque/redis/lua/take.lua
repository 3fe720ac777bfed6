-- Takes jobs in their order, and holds them under a receipt until they are settled, given back or the hold runs out.
-- ARGV   given up at (epoch ms), queue, how many (1 to 1000), hold (ms), receipt, worker (or '')
-- Reply  {number, job, number, job, …}, empty when there is none; or 0 when the queue is stopped.
--        Once 8 MiB are together it takes no more, so a large batch may come back shorter.
local paused, processed, due, ready, front, delayed, leased, receipts, jobs, uniq, uniq_of, workers, worker_started,
  worker_seen, worker_processed, worker_queues = unpack(KEYS)
--@include now
--@include rank
--@include front
--@include move
--@include worker
local queue, want, hold, receipt, worker = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], ARGV[6]
if redis.call('SISMEMBER', paused, queue) == 1 then
  return 0
end
local move_at = redis.call('ZSCORE', due, queue)
if move_at and tonumber(move_at) <= now then
  move(queue, 1000)
end

local function pop(count)
  local ids = {}
  local ranked = redis.call('ZPOPMIN', front, count)
  for i = 1, #ranked, 2 do
    ids[#ids + 1] = plain(ranked[i])
  end
  if #ids < count then
    for _, id in ipairs(redis.call('LPOP', ready, count - #ids) or {}) do
      ids[#ids + 1] = id
    end
  end
  return ids
end

local reply, taken, bytes = {}, 0, 0
while taken < want and bytes < 8388608 do
  local ids = pop(math.min(want - taken, 100))
  if #ids == 0 then
    break
  end
  local held, holders = {}, {}
  for i, job in ipairs(redis.call('HMGET', jobs, unpack(ids))) do
    local id = ids[i]
    reply[#reply + 1] = id
    reply[#reply + 1] = job
    held[#held + 1] = now + hold
    held[#held + 1] = id
    holders[#holders + 1] = id
    holders[#holders + 1] = receipt
    bytes = bytes + #job
    if job:byte(14) == 117 then -- 'u'
      local key = redis.call('HGET', uniq_of, id)
      if redis.call('HGET', uniq, key) == id then
        redis.call('HDEL', uniq, key)
      end
    end
  end
  redis.call('ZADD', leased, unpack(held))
  redis.call('HSET', receipts, unpack(holders))
  taken = taken + #ids
end

if taken > 0 then
  redis.call('ZADD', due, 'LT', now + hold, queue)
  redis.call('HINCRBY', processed, queue, taken)
end
if worker ~= '' then
  enrol(queue, worker)
  redis.call('HINCRBY', worker_processed, worker, taken)
end
return reply
