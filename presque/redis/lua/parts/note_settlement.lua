-- Remembers a settlement, so that it can be repeated: see `acked` in presque.redis.keys. An ack is recorded by the job's number (a
-- job has only one), a nack or a release by number and receipt, with its result: delayed, dead or release, when the job is due
-- (epoch ms) and in how long (ms).
local is_noting = false -- whether `acked` is that for the settlements of this script

local function note_settlement(member, said)
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
  redis.call('HSET', acked, member, said)
  if is_new then
    redis.call('PEXPIRE', acked, 7200000) -- and when half of that has passed, the next one begins
  end
end
