-- Deletes some of a queue's jobs in one state, in order. Repeated until none are left.
-- ARGV   given up at (epoch ms), queue, state, maximum number (up to 1000)
-- Reply  how many it deleted, or -1 when the queue does not exist
local queues, ready, front, delayed, leased, dead, receipts, jobs, uniq, uniq_of, attempts, limits, history, holders, run_outs = unpack(KEYS)
--@include now
--@include forget
--@include padded
if not redis.call('ZSCORE', queues, ARGV[2]) then
  return -1
end
local state, count = ARGV[3], tonumber(ARGV[4])
local ids = {}
local function remove(key, members)
  if #members > 0 then
    redis.call('ZREM', key, unpack(members))
  end
  for _, member in ipairs(members) do
    ids[#ids + 1] = plain(member)
  end
end
if state == 'ready' then
  remove(front, redis.call('ZRANGE', front, 0, count - 1))
  remove(delayed, redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, count - #ids))
  for _, id in ipairs(#ids < count and redis.call('LPOP', ready, count - #ids) or {}) do
    ids[#ids + 1] = id
  end
elseif state == 'delayed' then
  remove(delayed, redis.call('ZRANGEBYSCORE', delayed, '(' .. now, '+inf', 'LIMIT', 0, count))
else
  local key = ({ leased = leased, dead = dead })[state]
  remove(key, redis.call('ZRANGE', key, 0, count - 1))
end
if #ids > 0 then
  redis.call('HDEL', receipts, unpack(ids))
  forget(ids)
end
return #ids
