-- Reads schedules of a partition, sorted by "<queue>/<name>". A page ends after about 8 MiB of them.
-- ARGV   given up at (epoch ms), the member to start after ('' for the first page), maximum number
-- Reply  {1 if there are more, else 0, then for each: "<queue>/<name>", its next time (epoch ms) or '', its state, the
--        schedule}: see `schedule_state` and `schedules` in presque.redis.keys
local schedules, schedule_due, schedule_names, schedule_state = unpack(KEYS)
--@include now
local first, count = ARGV[2] == '' and '-' or '(' .. ARGV[2], tonumber(ARGV[3])
local reply, bytes = { 0 }, 0
for i, member in ipairs(redis.call('ZRANGEBYLEX', schedule_names, first, '+', 'LIMIT', 0, count + 1)) do
  if i > count or bytes >= 8388608 then
    reply[1] = 1
    break
  end
  local value = redis.call('HGET', schedules, member) or ''
  bytes = bytes + #value
  reply[#reply + 1] = member
  reply[#reply + 1] = redis.call('ZSCORE', schedule_due, member) or ''
  reply[#reply + 1] = redis.call('HGET', schedule_state, member) or ''
  reply[#reply + 1] = value
end
return reply
