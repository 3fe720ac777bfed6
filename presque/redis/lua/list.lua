-- Reads a page of a queue's jobs in one state, in the order in which they would be taken, come due, run out or died.
-- ARGV   given up at (epoch ms), queue, state, from (0 is the first), how many at most (up to 1000)
-- Reply  {where the next page begins, or -1 when this is the last, {number, <as look_up>}, …}; 8 MiB of jobs end a page
local ready, front, delayed, leased, dead, jobs, attempts, limits, history, uniq_of, settings = unpack(KEYS)
--@include now
--@include rank
--@include setting
--@include describe
local state, from, want = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local ids, length = {}, 0
if state == 'ready' then
  local in_front = redis.call('ZCARD', front)
  length = in_front + redis.call('LLEN', ready)
  ids = from < in_front and redis.call('ZRANGE', front, from, from + want - 1) or {}
  if #ids < want then
    local start = math.max(from - in_front, 0)
    for _, id in ipairs(redis.call('LRANGE', ready, start, start + want - #ids - 1)) do
      ids[#ids + 1] = id
    end
  end
else
  local key = ({ delayed = delayed, leased = leased, dead = dead })[state]
  length = redis.call('ZCARD', key)
  ids = redis.call('ZRANGE', key, from, from + want - 1)
end
local reply, bytes = { -1 }, 0
for _, member in ipairs(ids) do
  local id = plain(member)
  local job = describe(id)
  reply[#reply + 1] = { id, unpack(job) }
  bytes = bytes + #job[2]
  if bytes >= 8388608 then
    break
  end
end
local next_from = from + #reply - 1
reply[1] = #reply > 1 and next_from < length and next_from or -1
return reply
