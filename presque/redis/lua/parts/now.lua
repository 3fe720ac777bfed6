-- `now`: the time (epoch ms) by the Redis clock. ARGV[1] of every script is the time (epoch ms) after which its caller has
-- given up: a command that was delayed on its way is refused then, so nothing is carried out late.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE the caller has given up')
end
