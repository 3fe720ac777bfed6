-- Reads who holds jobs of a queue, those whose leases end first.
-- ARGV   given up at (epoch ms), queue, maximum number (up to 1000)
-- Reply  {1 if there are more, else 0, number, when its lease or hold ends (epoch ms), worker ('' if unnamed), 1 if the worker is
--        registered on the queue, else 0, number, …}; ends early after about half a megabyte of what `live` has
local leased, held, live, workers_of = unpack(KEYS)
--@include now
--@include numbers_of
--@include read_live
local queue, most, reply, count, is_cut = ARGV[2], tonumber(ARGV[3]), { 0 }, 0, false
local function add(id, at, worker)
  local is_registered = worker ~= '' and redis.call('ZSCORE', workers_of, queue .. '\0' .. worker)
  reply[#reply + 1], reply[#reply + 2] = id, string.format('%.0f', at)
  reply[#reply + 1], reply[#reply + 2] = worker, is_registered and 1 or 0
  count = count + 1
end
local first, bytes = 0, 0
while count < most and bytes < 524288 do
  local page = redis.call('ZRANGE', leased, first, first + math.min(100, most - count) - 1, 'WITHSCORES')
  for i = 1, #page, 2 do
    local text = redis.call('HGET', live, page[i]) or '-'
    bytes = bytes + #text
    add(page[i], page[i + 1], select(3, read_live(text)).worker or '')
  end
  first = first + 100
  if #page == 0 then
    break
  end
end
is_cut = redis.call('ZCARD', leased) > count
for i, member in ipairs(redis.call('ZRANGE', held, 0, 999)) do -- kept for a worker, or on their way to a client
  local worker = member:match('\n(.*)')
  local at = worker and redis.call('ZSCORE', held, member)
  for _, id in ipairs(worker and count < most and numbers_of(member) or {}) do
    add(id, at, worker)
  end
  is_cut = is_cut or worker and count >= most or i == 1000
end
reply[1] = is_cut and 1 or 0
return reply
