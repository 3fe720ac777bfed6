-- Sums the counters of a page of a partition's queues, in the order of their names.
-- ARGV   given up at (epoch ms), the name to start after ('' for the first page), maximum number (up to 1000)
-- Reply  {processed, failed, the last name, '' on the last page}
local queues, processed, failed = unpack(KEYS)
--@include now
local names = redis.call('ZRANGEBYLEX', queues, ARGV[2] == '' and '-' or '(' .. ARGV[2], '+', 'LIMIT', 0, ARGV[3])
local function sum(key)
  local total = 0
  for _, count in ipairs(#names > 0 and redis.call('HMGET', key, unpack(names)) or {}) do
    total = total + (count or 0)
  end
  return total
end
return { sum(processed), sum(failed), #names == tonumber(ARGV[3]) and names[#names] or '' }
