-- Extends the leases of jobs. A lease that has run out is lost, even if no other worker has the job.
-- ARGV   given up at (epoch ms), queue, lease from now on (ms, or '' for the queue's), number, receipt, … (up to 1000 pairs)
-- Reply  {lease (ms), lease ends at (epoch ms), then for each pair: extended, lease-lost (it is no longer leased under that
--        receipt), or not-found (the job does not exist): see presque.jobs.outcomes}
local q, due, leased, jobs, live = unpack(KEYS)
--@include now
--@include read_live
--@include setting
--@include visit_by
local lease = tonumber(ARGV[3]) or setting('lease')
local deadline = now + lease
local reply, has_extended = { lease, deadline }, false
for at = 4, #ARGV, 2 do
  local id, text = ARGV[at], redis.call('HGET', live, ARGV[at])
  local became = 'not-found'
  if text and select(2, read_live(text)) == ARGV[at + 1] and tonumber(redis.call('ZSCORE', leased, id) or 0) > now then
    redis.call('ZREM', leased, id) -- first, because a full Redis refuses a ZADD as a script's first write
    redis.call('ZADD', leased, deadline, id)
    became, has_extended = 'extended', true
  elseif redis.call('HEXISTS', jobs, id) == 1 then
    became = 'lease-lost'
  end
  reply[#reply + 1] = became
end
if has_extended then
  visit_by(ARGV[2], deadline)
end
return reply
