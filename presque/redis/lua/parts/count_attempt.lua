-- Counts a failed attempt, and records why. After the last one, or if it `is_final`, the job is dead and the function returns
-- nothing; else it returns the number of failed attempts. The job must be in no state. A script that has made jobs dead must
-- call `trim_dead` once.

--@include setting
local MOST_NOTED = 10

local function count_attempt(id, why, is_final)
  local count = redis.call('HINCRBY', attempts, id, 1)
  local noted = redis.call('HGET', history, id)
  noted = noted and cmsgpack.unpack(noted) or {}
  noted[#noted + 1] = { count, now, why }
  if #noted > MOST_NOTED then
    table.remove(noted, 1)
  end
  redis.call('HSET', history, id, cmsgpack.pack(noted))
  if not is_final and count < tonumber(redis.call('HGET', limits, id) or setting('max_attempts')) then
    return count
  end
  redis.call('ZADD', dead, now, id)
end
