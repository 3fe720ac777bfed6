-- Deletes one job, whatever its state.
-- ARGV   given up at (epoch ms), queue, number
-- Reply  1 when the job existed, else 0
local ready, front, delayed, leased, dead, receipts, jobs, uniq, uniq_of, attempts, limits, history, holders, run_outs = unpack(KEYS)
--@include now
--@include forget
--@include padded
local id = ARGV[3]
if redis.call('HEXISTS', jobs, id) == 0 then
  return 0
end
local found = redis.call('ZREM', leased, id) + redis.call('ZREM', dead, id) + redis.call('ZREM', front, padded(id))
if found + redis.call('ZREM', delayed, padded(id)) == 0 then
  local middle = redis.call('LINDEX', ready, math.floor(redis.call('LLEN', ready) / 2)) -- numbers are mostly in order
  redis.call('LREM', ready, middle and tonumber(id) > tonumber(middle) and -1 or 1, id)
end
redis.call('HDEL', receipts, id)
forget({ id })
return 1
