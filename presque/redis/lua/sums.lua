-- Sums the counters of a page of a partition's queues, in the order of their names.
-- ARGV   given up at (epoch ms), the name to start after ('' for the first page), maximum number (up to 1000)
-- Reply  {handed out, failed, the last name, '' on the last page}
local queues = unpack(KEYS)
--@include now
local names = redis.call('ZRANGEBYLEX', queues, ARGV[2] == '' and '-' or '(' .. ARGV[2], '+', 'LIMIT', 0, ARGV[3])
local prefix, out, failed = queues:match('^(.*)/queues$') .. ':', 0, 0
for _, name in ipairs(names) do -- this only reads, and all keys of a partition are in the same slot
  local counters = redis.call('HMGET', prefix .. name .. ':q', 'out', 'failed')
  out, failed = out + (counters[1] or 0), failed + (counters[2] or 0)
end
return { out, failed, #names == tonumber(ARGV[3]) and names[#names] or '' }
