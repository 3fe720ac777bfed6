-- Samples a page of the queues of a partition for their histories, of which each minute gets a row for each queue that has changed;
-- after the last page, the sums of all for the history of the partition. Whoever calls it goes on where the last call ended, so
-- any number of daemons share the work, and none of them repeats it.
-- ARGV   given up at (epoch ms), maximum number of queues (up to 1000), 1 if the caller has seen that there were no queues, else ''
-- Reply  {1 if there is more to do, else 0, the minute that it was about (minutes since the epoch), 1 if there are no queues,
--        else 0}
local queues, sampling, all_history = unpack(KEYS)
--@include now
--@include figures_of
--@include note_sample
local prefix, most, ended = queues:match('^(.*)/queues$') .. ':', tonumber(ARGV[2]), math.floor(now / 60000) - 1
local minute, after, has_all, sums = unpack(redis.call('HMGET', sampling, 'minute', 'after', 'has_all', 'sums'))
minute = tonumber(minute)
if not after then
  local is_empty = redis.call('EXISTS', queues, all_history) == 0
  if minute == ended or is_empty then
    return { 0, ended, is_empty and 1 or 0 }
  end
  minute, after, has_all = ended, '', has_all or ARGV[3] == '1'
end
-- Since the last sample: inserted, ended, failed, died; now: ready, delayed, leased, dead, age of the oldest.
sums = sums and cmsgpack.unpack(sums) or { 0, 0, 0, 0, 0, 0, 0, 0, 0 }
local zeros = { 0, 0, 0, 0, 0, 0, 0, 0 }

-- Whether the queue, or all of them, has changed since its last sample; and how much came since. If it has none, it is new;
-- or nothing is known, as when a store is sampled for the first time.
local function compared(key, figures, is_known)
  local last = redis.call('HGET', key, 'last')
  local before = last and { select(2, unpack(cmsgpack.unpack(last))) } or zeros
  local has_changed, passed = false, {}
  for i, figure in ipairs(figures) do
    has_changed = has_changed or figure ~= before[i]
    passed[i] = (last or is_known) and math.max(0, figure - before[i]) or 0
  end
  return has_changed, passed
end

local function sample(name)
  local figures, oldest = figures_of(prefix .. name .. ':')
  if not figures then
    return
  end
  local key = prefix .. name .. ':history'
  local has_changed, passed = compared(key, figures, has_all)
  for i = 1, 8 do
    sums[i] = sums[i] + (i <= 4 and passed[i] or figures[i])
  end
  sums[9] = math.max(sums[9], oldest)
  if has_changed then
    note_sample(key, minute, passed, figures, oldest)
  end
end

redis.call('HDEL', sampling, 'after') -- first: a full Redis refuses a HSET as a script's first write
local names = redis.call('ZRANGEBYLEX', queues, after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, most)
for _, name in ipairs(names) do
  pcall(sample, name) -- of a queue whose keys have a wrong type there is no history
end
if #names == most then
  if has_all then
    redis.call('HSET', sampling, 'has_all', 1)
  end
  redis.call('HSET', sampling, 'minute', minute, 'after', names[#names], 'sums', cmsgpack.pack(sums))
  return { 1, minute, 0 }
end
local figures = { 0, 0, 0, 0, unpack(sums, 5, 8) }
local changes = sums[1] + sums[2] + sums[3] + sums[4]
if changes > 0 or compared(all_history, figures) then
  note_sample(all_history, minute, sums, figures, sums[9])
end
redis.call('HDEL', sampling, 'sums')
redis.call('HSET', sampling, 'minute', minute, 'has_all', 1)
return { 0, minute, 0 }
