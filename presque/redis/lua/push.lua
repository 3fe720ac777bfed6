-- Inserts jobs without options, due at once, all or nothing.
-- ARGV   given up at (epoch ms), queue, payload, payload, …
-- Reply  the number of the first job, the others have the following ones; or {'full'}, or {'closed'}
local q, queues, floor, ready, front, behind, delayed, jobs, waiting = unpack(KEYS)
--@include now
--@include next_numbers
--@include wake
local count = #ARGV - 2
local first = next_numbers(ARGV[2], count)
if type(first) == 'table' then
  return first
end
local time, numbers, records = string.format('%013d-', now), {}, {}
for i = 1, count do
  numbers[i] = first + i - 1
  records[2 * i - 1], records[2 * i] = numbers[i], time .. ARGV[2 + i]
end
--@include in_bulk
in_bulk('HSET', jobs, records)
in_bulk('RPUSH', ready, numbers)
wake(count)
return first
