-- Holds taken jobs for longer. A lease that has run out is lost, even while nobody else has the job; a hold is not.
-- ARGV   given up at (epoch ms), queue, lease from now on (ms, or '' for the queue's), number, receipt, … (up to 1000 pairs)
-- Reply  {how many are still held under their receipt, lease ends at (epoch ms), 1 when there is such a job as the first else 0}
local leased, receipts, due, settings, jobs = unpack(KEYS)
--@include now
--@include setting
--@include held
local ids = {}
for _, id in ipairs(held(4)) do
  local is_lease = redis.call('HGET', receipts, id):byte() == 108 -- 'l': it is lost once it has run out; a hold is not
  if not is_lease or tonumber(redis.call('ZSCORE', leased, id)) > now then
    ids[#ids + 1] = id
  end
end
local deadline = now + (tonumber(ARGV[3]) or setting('lease'))
for _, id in ipairs(ids) do
  redis.call('ZREM', leased, id) -- first, because a full Redis refuses a ZADD that is a script's first write
  redis.call('ZADD', leased, deadline, id)
end
if #ids > 0 then
  redis.call('ZADD', due, 'LT', deadline, ARGV[2])
end
return { #ids, deadline, redis.call('HEXISTS', jobs, ARGV[4]) }
