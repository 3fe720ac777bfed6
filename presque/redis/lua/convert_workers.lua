-- Converts a partition's worker data from its previous form: up to 1,000 registrations.
-- ARGV   given up at (epoch ms), what precedes and follows a queue's name in the key of its workers
-- Reply  how many it converted, 0 when nothing is left in that form
local old_queues, old_seen, last_seen, queues_of, workers_of = unpack(KEYS)
--@include now
local converted = 0
for _, worker in ipairs(redis.call('HRANDFIELD', old_queues, 200)) do
  local names, from = redis.call('HGET', old_queues, worker), 1
  redis.call('HDEL', old_queues, worker) -- first, because a full Redis refuses a ZADD as a script's first write
  redis.call('ZADD', last_seen, 'NX', redis.call('HGET', old_seen, worker) or now, worker)
  while from <= #names and converted < 1000 do
    local first, last = names:find('%S+', from)
    local queue = names:sub(first, last)
    redis.call('ZADD', queues_of, 0, worker .. '\0' .. queue)
    redis.call('ZADD', workers_of, 0, queue .. '\0' .. worker)
    redis.call('UNLINK', ARGV[2] .. queue .. ARGV[3]) -- a key of the same slot; its workers are all in one of the lists too
    from, converted = last + 2, converted + 1
  end
  if from <= #names then
    redis.call('HSET', old_queues, worker, names:sub(from))
    return converted
  end
  redis.call('HDEL', old_seen, worker)
end
if converted == 0 then
  redis.call('UNLINK', old_seen)
end
return converted
