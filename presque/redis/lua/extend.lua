-- Extends the lease or hold of taken jobs. A lease that has run out is lost, even if no other worker has the job; a hold is
-- not.
-- ARGV   given up at (epoch ms), queue, lease from now on (ms, or '' for the queue's), number, receipt, … (up to 1000 pairs)
-- Reply  {lease (ms), lease ends at (epoch ms), then for each pair: extended, lease-lost (it is no longer held under that
--        receipt), or not-found (the job does not exist): see presque.jobs.outcomes}
local leased, receipts, due, settings, jobs = unpack(KEYS)
--@include now
--@include setting
local lease = tonumber(ARGV[3]) or setting('lease')
local deadline = now + lease
local reply, held = { lease, deadline }, false
for at = 4, #ARGV, 2 do
  local id, receipt = ARGV[at], ARGV[at + 1]
  local became = 'not-found'
  if redis.call('HGET', receipts, id) == receipt then
    local is_lease = receipt:byte() == 108 -- 'l': lost once it has run out; a hold is not
    became = (not is_lease or tonumber(redis.call('ZSCORE', leased, id)) > now) and 'extended' or 'lease-lost'
  elseif redis.call('HEXISTS', jobs, id) == 1 then
    became = 'lease-lost'
  end
  if became == 'extended' then
    redis.call('ZREM', leased, id) -- first, because a full Redis refuses a ZADD as a script's first write
    redis.call('ZADD', leased, deadline, id)
    held = true
  end
  reply[#reply + 1] = became
end
if held then
  redis.call('ZADD', due, 'LT', deadline, ARGV[2])
end
return reply
