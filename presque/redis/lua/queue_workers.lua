-- Reads a page of the workers of a queue, and the queue's counters.
-- ARGV   given up at (epoch ms), queue, the worker to start after ('' for the first page), maximum number
-- Reply  {handed out, failed, worker, worker, …}
local q, workers_of = unpack(KEYS)
--@include now
local queue = ARGV[2]
local counters = redis.call('HMGET', q, 'out', 'failed')
local reply = { tonumber(counters[1] or 0), tonumber(counters[2] or 0) }
local after = (ARGV[3] == '' and '[' or '(') .. queue .. '\0' .. ARGV[3]
for i, member in ipairs(redis.call('ZRANGEBYLEX', workers_of, after, '(' .. queue .. '\1', 'LIMIT', 0, ARGV[4])) do
  reply[i + 2] = member:sub(#queue + 2)
end
return reply
