-- Makes dead jobs ready again, behind those that wait and however many those are, with all their attempts before them.
-- ARGV   given up at (epoch ms), queue, how many at most, the longest dead first ('' when numbers follow), number, number, …
-- Reply  how many it moved
local ready, dead, attempts, uniq, uniq_of, waiting = unpack(KEYS)
--@include now
--@include wake
local ids = {}
if ARGV[3] == '' then
  for i = 4, #ARGV do
    if redis.call('ZREM', dead, ARGV[i]) == 1 then
      ids[#ids + 1] = ARGV[i]
    end
  end
else
  local ranked = redis.call('ZPOPMIN', dead, ARGV[3])
  for i = 1, #ranked, 2 do
    ids[#ids + 1] = ranked[i]
  end
end
if #ids > 0 then
  redis.call('HDEL', attempts, unpack(ids))
  redis.call('RPUSH', ready, unpack(ids))
  for i, key in ipairs(redis.call('HMGET', uniq_of, unpack(ids))) do
    if key then
      redis.call('HSETNX', uniq, key, ids[i])
    end
  end
  wake(#ids)
end
return #ids
