-- Holds the jobs of a take for longer.
-- ARGV   given up at (epoch ms), queue, hold from now on (ms), member of `held`
-- Reply  how many jobs are held, 0 when they are not held any more
local q, due, held = unpack(KEYS)
--@include now
--@include numbers_of
--@include visit_by
local member, deadline = ARGV[4], now + ARGV[3]
if redis.call('ZREM', held, member) == 0 then -- first, because a full Redis refuses a ZADD as a script's first write
  return 0
end
redis.call('ZADD', held, deadline, member)
visit_by(ARGV[2], deadline)
return #numbers_of(member)
