-- Reads a page of a queue's jobs in one state, in the order in which they would be taken, come due, run out or died. Beyond the
-- first thousand ready ones, jobs that have come due and were not moved yet follow the others of `front`.
-- ARGV   given up at (epoch ms), queue, state, from (0 is the first), maximum number (up to 1000)
-- Reply  {start of the next page, or -1 for the last page, {number, <as look_up>}, …}; a page ends after 8 MiB of jobs
--        and their histories. 0 when the queue does not exist
local queues, ready, front, delayed, leased, dead, jobs, attempts, limits, history, uniq_of, settings, receipts,
  holders = unpack(KEYS)
--@include now
--@include describe
--@include in_front
--@include padded
if not redis.call('ZSCORE', queues, ARGV[2]) then
  return 0
end
local state, from, want = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local came_due = redis.call('ZCOUNT', delayed, '-inf', now)
local ids, length = {}, 0

local function add(read, key, size)
  local start = math.max(from - length, 0)
  if #ids < want and start < size then
    for _, id in ipairs(redis.call(read, key, start, math.min(start + want - #ids, size) - 1)) do
      ids[#ids + 1] = id
    end
  end
  length = length + size
end

if state == 'ready' then
  if came_due > 0 and from + want <= 1000 then
    ids = { unpack(in_front(from + want), from + 1) }
    length = redis.call('ZCARD', front) + came_due
  else
    add('ZRANGE', front, redis.call('ZCARD', front))
    add('ZRANGE', delayed, came_due)
  end
  add('LRANGE', ready, redis.call('LLEN', ready))
else
  local key = ({ delayed = delayed, leased = leased, dead = dead })[state]
  length = state == 'delayed' and -came_due or 0 -- which are listed as ready
  add('ZRANGE', key, redis.call('ZCARD', key))
end
local reply, bytes = { -1 }, 0
for _, member in ipairs(ids) do
  local id = plain(member)
  local job = describe(id)
  reply[#reply + 1] = { id, unpack(job) }
  bytes = bytes + #job[2] + #job[6]
  if bytes >= 8388608 then
    break
  end
end
local next_from = from + #reply - 1
reply[1] = #reply > 1 and next_from < length and next_from or -1
return reply
