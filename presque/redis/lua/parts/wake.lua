-- Tells whoever waits for this queue that it may have a job now. It only makes waiting consumers prompt, so a Redis user
-- who may not publish loses nothing else: the error of this one command is left alone.
local function wake()
  redis.pcall('PUBLISH', ready, '')
end
