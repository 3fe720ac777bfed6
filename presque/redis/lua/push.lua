-- Inserts jobs without options, due at once, all or nothing.
-- ARGV   given up at (epoch ms), queue, payload, payload, …; and '' if they are of several callers: if they cannot all be inserted,
--        each is inserted alone, and this refusal is not counted
-- Reply  the number of the first job, the others have the following ones; or {'full'}, {'large'}, {'many'}, or {'closed'}
local q, queues, floor, ready, front, behind, delayed, jobs, waiting = unpack(KEYS)
--@include now
--@include next_numbers
local is_trying = ARGV[#ARGV] == ''
local count, time = #ARGV - (is_trying and 3 or 2), string.format('%013d-', now)
if count > 1 then
  redis.call('LLEN', ready) -- fails before anything is written if the key has a wrong type
end
local first = next_numbers(ARGV[2], count, nil, is_trying)
if type(first) == 'table' then
  return first
end
if count == 1 then
  redis.call('HSET', jobs, first, time .. ARGV[3])
  local pushed = redis.pcall('RPUSH', ready, first)
  if type(pushed) == 'table' then -- the key has a wrong type
    redis.call('HDEL', jobs, first)
    redis.call('HINCRBY', q, 'n', -1)
    return pushed
  end
else
  --@include in_bulk
  local numbers, records = {}, {}
  for i = 1, count do
    numbers[i] = first + i - 1
    records[2 * i - 1], records[2 * i] = numbers[i], time .. ARGV[2 + i]
  end
  in_bulk('HSET', jobs, records)
  in_bulk('RPUSH', ready, numbers)
end
if redis.call('EXISTS', waiting) == 1 then
  --@include wake
  wake(count)
end
return first
