-- Names the queues of a partition of which a consumer holds jobs, in the order of their names.
-- ARGV   given up at (epoch ms), the name to start after ('' for the first page), maximum number to look at (up to 1000)
-- Reply  {the last name that it looked at, '' on the last page, name, name, …}
local queues = unpack(KEYS)
--@include now
local names = redis.call('ZRANGEBYLEX', queues, ARGV[2] == '' and '-' or '(' .. ARGV[2], '+', 'LIMIT', 0, ARGV[3])
local prefix, reply = queues:match('^(.*)/queues$') .. ':', { #names == tonumber(ARGV[3]) and names[#names] or '' }
for _, name in ipairs(names) do -- this only reads, and all keys of a partition are in the same slot
  if redis.call('EXISTS', prefix .. name .. ':leased', prefix .. name .. ':held') > 0 then
    reply[#reply + 1] = name
  end
end
return reply
