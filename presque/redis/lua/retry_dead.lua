-- Makes dead jobs ready again, in front as if they had come due now, with no attempts counted. `max_length` does not apply.
-- ARGV   given up at (epoch ms), queue, maximum number, longest dead first ('' when numbers follow), number, number, …
-- Reply  {how many it moved, how many are still dead, numbers that were not dead …}, or 0 when the queue does not exist
local queues, ready, front, dead, attempts, uniq, uniq_of, run_outs, waiting = unpack(KEYS)
--@include now
--@include or_undo
--@include padded
--@include wake
if not redis.call('ZSCORE', queues, ARGV[2]) then
  return 0
end
local ids, missing = {}, {}
if ARGV[3] == '' then
  for i = 4, #ARGV do
    local into = redis.call('ZREM', dead, ARGV[i]) == 1 and ids or missing
    into[#into + 1] = ARGV[i]
  end
else
  local ranked = redis.call('ZPOPMIN', dead, ARGV[3])
  for i = 1, #ranked, 2 do
    ids[#ids + 1] = ranked[i]
  end
end
local function revive()
  redis.call('HDEL', attempts, unpack(ids))
  redis.call('HDEL', run_outs, unpack(ids))
  local ranks = {}
  for _, id in ipairs(ids) do
    ranks[#ranks + 1] = now
    ranks[#ranks + 1] = padded(id)
  end
  redis.call('ZADD', front, unpack(ranks))
  for i, key in ipairs(redis.call('HMGET', uniq_of, unpack(ids))) do
    if key then
      redis.call('HSETNX', uniq, key, ids[i])
    end
  end
end
if #ids > 0 then
  or_undo(revive, function()
    for _, id in ipairs(ids) do
      redis.pcall('ZREM', front, padded(id))
      redis.pcall('ZADD', dead, now, id)
    end
  end)
  wake(#ids)
end
return { #ids, redis.call('ZCARD', dead), unpack(missing) }
