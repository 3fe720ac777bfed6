-- Ends jobs taken for good that have reached their consumers. A job that is no longer held under the receipt stays as it is.
-- ARGV   given up at (epoch ms), queue, number, receipt, number, receipt, … (up to 1000 pairs)
-- Reply  how many it ended
local leased, receipts, jobs, uniq, uniq_of, attempts, limits, history, holders, run_outs = unpack(KEYS)
--@include now
--@include forget
--@include held
local ids = held(3)
if #ids > 0 then
  redis.call('ZREM', leased, unpack(ids))
  redis.call('HDEL', receipts, unpack(ids))
  forget(ids)
end
return #ids
