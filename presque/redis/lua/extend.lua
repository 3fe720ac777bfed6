-- Holds taken jobs for longer. A lease that has run out is lost, even while nobody else has the job; a hold is not.
-- ARGV   given up at (epoch ms), queue, lease from now on (ms, or '' for the queue's), number, receipt, … (up to 1000 pairs)
-- Reply  {lease (ms), lease ends at (epoch ms), then for each pair: 1 when it is held for that long, 0 when it is no longer held
--        under that receipt, -1 when there is no such job}
local leased, receipts, due, settings, jobs = unpack(KEYS)
--@include now
--@include setting
local lease = tonumber(ARGV[3]) or setting('lease')
local deadline = now + lease
local reply, held = { lease, deadline }, false
for at = 4, #ARGV, 2 do
  local id, receipt = ARGV[at], ARGV[at + 1]
  local word = -1
  if redis.call('HGET', receipts, id) == receipt then
    local is_lease = receipt:byte() == 108 -- 'l': it is lost once it has run out; a hold is not
    word = (not is_lease or tonumber(redis.call('ZSCORE', leased, id)) > now) and 1 or 0
  elseif redis.call('HEXISTS', jobs, id) == 1 then
    word = 0
  end
  if word == 1 then
    redis.call('ZREM', leased, id) -- first, because a full Redis refuses a ZADD that is a script's first write
    redis.call('ZADD', leased, deadline, id)
    held = true
  end
  reply[#reply + 1] = word
end
if held then
  redis.call('ZADD', due, 'LT', deadline, ARGV[2])
end
return reply
