-- Reads a page of a queue's jobs in one state, in the order in which they would be taken, come due, run out or died.
-- ARGV   given up at (epoch ms), queue, state, from (0 is the first), how many at most (up to 1000)
-- Reply  {where the next page begins, or -1 when this is the last, {number, <as look_up>}, …}; 8 MiB of jobs end a page
local ready, front, delayed, leased, dead, jobs, attempts, limits, history, uniq_of, settings = unpack(KEYS)
--@include now
--@include rank
--@include head
--@include setting
--@include describe
local state, from, want = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local came_due = redis.call('ZCOUNT', delayed, '-inf', now)
local ids, length = {}, 0
if state == 'ready' then
  local before = redis.call('ZCARD', front) + came_due
  length = before + redis.call('LLEN', ready)
  local first = from < before and head(from + want) or {}
  for i = from + 1, #first do
    ids[#ids + 1] = first[i]
  end
  if #ids < want then
    local start = math.max(from - before, 0)
    for _, id in ipairs(redis.call('LRANGE', ready, start, start + want - #ids - 1)) do
      ids[#ids + 1] = id
    end
  end
else
  local key = ({ delayed = delayed, leased = leased, dead = dead })[state]
  local skipped = state == 'delayed' and came_due or 0
  length = redis.call('ZCARD', key) - skipped
  ids = redis.call('ZRANGE', key, skipped + from, skipped + from + want - 1)
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
