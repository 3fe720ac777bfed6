-- Ends the conversion of a partition, once its queues are converted: removes the keys that only data model 2 had.
-- ARGV   given up at (epoch ms)
-- Reply  1
local store_record, floor, old_last_id, old_paused, old_processed, old_failed = unpack(KEYS)
--@include now
--@include is
if redis.call('HEXISTS', store_record, 'converting') == 0 then
  return 1
end
local last = is(old_last_id, 'string') and tonumber(redis.call('GET', old_last_id))
if last then
  redis.call('SET', floor, string.format('%.0f', math.max(last, redis.call('GET', floor) or 0)))
end
redis.call('UNLINK', old_last_id, old_paused, old_processed, old_failed)
return 1
