-- Counts a queue, and reads ready jobs in the order in which they would be taken; they stay where they are.
-- ARGV   given up at (epoch ms), queue, maximum number (up to 1000)
-- Reply  {<see parts/counts.lua>, job, job, …}; ends early after 8 MiB
local queues, paused, processed, failed, ready, front, delayed, leased, dead, jobs, settings = unpack(KEYS)
--@include now
--@include counts
--@include in_front
local want = tonumber(ARGV[3])
local ids = in_front(want)
if #ids < want then
  for _, id in ipairs(redis.call('LRANGE', ready, 0, want - #ids - 1)) do
    ids[#ids + 1] = id
  end
end
local reply, bytes = { counts(ARGV[2]) }, 0
for _, id in ipairs(ids) do
  local job = redis.call('HGET', jobs, id)
  bytes = bytes + #job
  reply[#reply + 1] = job
  if bytes >= 8388608 then
    break
  end
end
return reply
