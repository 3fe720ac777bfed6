-- Since when nobody has asked this queue for jobs: epoch ms, or 0 if nobody ever has; -1 if somebody has lately, or has jobs of it.
-- It was noted at most a minute late when somebody asked. `waited` says for how long (ms) there was something to ask for: a
-- consumer that is only about to start is not missed.
local ASKS_WITHIN, STARTS_WITHIN = 90000, 10000 -- ms

local function unasked(waited)
  local since = tonumber(redis.call('HGET', q, 'asked') or 0)
  local silent = since == 0 and waited >= STARTS_WITHIN or since > 0 and now - since >= ASKS_WITHIN
  return silent and redis.call('ZCARD', leased) + redis.call('ZCARD', held) == 0 and since or -1
end
