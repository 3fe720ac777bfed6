-- Reads what the processes of this store say of themselves.
-- ARGV   given up at (epoch ms), how long figures count (ms)
-- Reply  {process, figures, process, figures, …}
local processes, process_figures = unpack(KEYS)
--@include now
local reply = {}
for _, process in ipairs(redis.call('ZRANGEBYSCORE', processes, now - ARGV[2], '+inf', 'LIMIT', 0, 1000)) do
  reply[#reply + 1], reply[#reply + 2] = process, redis.call('HGET', process_figures, process) or ''
end
return reply
