-- Puts taken jobs back to the front of their queue; they get their uniq keys again unless another job took them meanwhile.

--@include padded
local function to_front(ids)
  local ranks = {}
  for _, id in ipairs(ids) do
    ranks[#ranks + 1] = id - 9007199254740992
    ranks[#ranks + 1] = padded(id)
  end
  redis.call('ZADD', front, unpack(ranks))
  if redis.call('EXISTS', uniq_of) == 1 then
    for i, key in ipairs(redis.call('HMGET', uniq_of, unpack(ids))) do
      if key then
        redis.call('HSETNX', uniq, key, ids[i])
      end
    end
  end
end
