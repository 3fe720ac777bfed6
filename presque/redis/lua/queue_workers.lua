-- Reads a page of the workers of a queue, and the queue's counters.
-- ARGV   given up at (epoch ms), queue, the worker to start after ('' for the first page), maximum number
-- Reply  {processed, failed, worker, worker, …}
local workers_of, processed, failed = unpack(KEYS)
--@include now
local queue = ARGV[2]
local reply = {
  tonumber(redis.call('HGET', processed, queue) or 0),
  tonumber(redis.call('HGET', failed, queue) or 0),
}
local after = (ARGV[3] == '' and '[' or '(') .. queue .. '\0' .. ARGV[3]
for i, member in ipairs(redis.call('ZRANGEBYLEX', workers_of, after, '(' .. queue .. '\1', 'LIMIT', 0, ARGV[4])) do
  reply[i + 2] = member:sub(#queue + 2)
end
return reply
