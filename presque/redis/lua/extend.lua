-- Holds taken jobs for longer.
-- ARGV   given up at (epoch ms), queue, hold from now on (ms), number, receipt, number, receipt, … (up to 1000 pairs)
-- Reply  how many are still held under their receipt
local leased, receipts = unpack(KEYS)
--@include now
--@include held
local ids = held(4)
for _, id in ipairs(ids) do
  redis.call('ZREM', leased, id) -- first, because a full Redis refuses a ZADD that is a script's first write
  redis.call('ZADD', leased, now + ARGV[3], id)
end
return #ids
