-- Begins to convert a store of data model 2: from now on no earlier release uses it, and this one runs only the scripts of the
-- conversion until that is done.
-- ARGV   given up at (epoch ms), the data model that was read ('' if none is recorded)
-- Reply  1
local store_record = unpack(KEYS)
--@include now
if (redis.call('HGET', store_record, 'model') or '') == ARGV[2] then
  redis.call('HSET', store_record, 'model', 3, 'converting', 2)
end
return 1
