-- Remembers settlements, so that they can be repeated: pairs as `acked` has them in presque.redis.keys.
local is_noting = false -- whether `acked` is that for the settlements of this script

local function note_settlement(...)
  local is_new = false
  if not is_noting then
    local left = redis.call('PTTL', acked) -- ms; -2 if there is none
    is_new = left < 3600000 or now % 16 == 0 and redis.call('HLEN', acked) >= 10000 -- now and then is enough
    if is_new and left ~= -2 then
      redis.call('HLEN', acked) -- fails if the key has a wrong type
      redis.call('RENAME', acked, acked_before)
    end
    is_noting = true
  end
  redis.call('HSET', acked, ...)
  if is_new then
    redis.call('PEXPIRE', acked, 7200000) -- and when half of that has passed, the next one begins
  end
end
