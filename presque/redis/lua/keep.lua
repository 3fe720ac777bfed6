-- Keeps jobs that have reached a 2010 worker, until its next request or until `redeliver_after` has passed. If that is no
-- longer set, ends the jobs. Jobs whose hold has run out meanwhile are no longer the worker's.
-- ARGV   given up at (epoch ms), queue, worker, number, receipt, number, receipt, … (up to 1000 pairs)
-- Reply  how many it keeps or ends
local due, leased, receipts, settings, kept, jobs, uniq, uniq_of, attempts, limits, history, holders, run_outs = unpack(KEYS)
--@include now
--@include forget
--@include held
local queue, worker = ARGV[2], ARGV[3]
local ids = held(4)
if #ids == 0 then
  return 0
end
local redeliver_after = redis.call('HGET', settings, 'redeliver_after')
redis.call('ZREM', leased, unpack(ids)) -- first, because a full Redis refuses a ZADD as a script's first write
if not redeliver_after then
  redis.call('HDEL', receipts, unpack(ids))
  forget(ids)
  return #ids
end
local deadline = now + redeliver_after
local leases, under, mine, names = {}, {}, {}, {}
for i, receipt in ipairs(redis.call('HMGET', receipts, unpack(ids))) do
  local kept_by = 'k' .. receipt:sub(2)
  leases[#leases + 1] = deadline
  leases[#leases + 1] = ids[i]
  under[#under + 1] = ids[i]
  under[#under + 1] = kept_by
  names[#names + 1] = ids[i]
  names[#names + 1] = kept_by .. ' ' .. worker
  mine[#mine + 1] = ids[i] .. ' ' .. kept_by
end
redis.call('ZADD', leased, unpack(leases))
redis.call('HSET', receipts, unpack(under))
redis.call('HSET', holders, unpack(names))
local before = redis.call('HGET', kept, worker)
redis.call('HSET', kept, worker, (before and before .. ' ' or '') .. table.concat(mine, ' '))
redis.call('ZADD', due, 'LT', deadline, queue)
return #ids
