-- `now`: the time, epoch ms, by Redis' own clock. ARGV[1] of every script is the moment (epoch ms) from which its caller
-- has given up: a command that was held up on its way is refused then, so nothing is carried out late.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE the caller has given up')
end
