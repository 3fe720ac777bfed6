-- Reads the definitions of schedules of a partition that are due, the most overdue first.
-- ARGV   given up at (epoch ms), number of those to pass over, maximum number
-- Reply  {now (epoch ms), then for each: "<queue>/<name>", the time that has come (epoch ms), its definition (a MessagePack map)}
local schedules, schedule_due = unpack(KEYS)
--@include now
--@include split_schedule
local reply = { string.format('%d', now) }
local due = redis.call('ZRANGEBYSCORE', schedule_due, '-inf', now, 'WITHSCORES', 'LIMIT', ARGV[2], ARGV[3])
for i = 1, #due, 2 do
  local value = redis.call('HGET', schedules, due[i])
  reply[#reply + 1] = due[i]
  reply[#reply + 1] = due[i + 1]
  reply[#reply + 1] = value and split_schedule(value).definition or ''
end
return reply
