-- Deletes some of a queue's jobs in one state, the first ones first. It is repeated until none are left.
-- ARGV   given up at (epoch ms), queue, state, how many at most (up to 1000)
-- Reply  how many it deleted
local ready, front, delayed, leased, dead, receipts, jobs, uniq, uniq_of, attempts, limits, history = unpack(KEYS)
--@include now
--@include rank
--@include forget
local state, count = ARGV[3], tonumber(ARGV[4])
local ids = {}
if state == 'ready' then
  ids = redis.call('LPOP', ready, count) or {}
end
if #ids < count then
  local key = ({ ready = front, delayed = delayed, leased = leased, dead = dead })[state]
  local ranked = redis.call('ZPOPMIN', key, count - #ids)
  for i = 1, #ranked, 2 do
    ids[#ids + 1] = plain(ranked[i])
  end
end
if #ids > 0 then
  redis.call('HDEL', receipts, unpack(ids))
  forget(ids)
end
return #ids
