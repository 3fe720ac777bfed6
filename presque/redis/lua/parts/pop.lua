-- Takes up to `want` jobs in order out of `front`, `ready` and, if the queue has priorities, `behind`. No more than about 8 MiB:
-- few at first, then as many at a time as their sizes allow. Jobs that have expired are ended on the way. What it gets is in
-- locals of parts/taken.lua.

--@include expire
--@include options_of
--@include skip_holes
local MOST_BYTES, MOST_DROPPED = 8388608, 20000

local function pop_ranked(key, count)
  local ranked = redis.call('ZPOPMIN', key, count)
  for i = 1, #ranked, 2 do
    popped[#popped + 1], popped_ranks[#popped + 1] = string.format('%d', ranked[i]), ranked[i + 1]
  end
end

local has_holes = false -- whether this round met any

-- Returns how many numbers it popped. The first one may be popped already.
local function pop_numbers(count)
  if number and not popped then
    popped, popped_ranks, done = { number }, { false }, 0
    return 1
  end
  popped, popped_ranks, done = {}, {}, 0
  pop_ranked(front, count)
  if #popped < count then
    for _, id in ipairs(redis.call('LPOP', ready, count - #popped) or {}) do
      popped[#popped + 1], popped_ranks[#popped + 1] = id, false
    end
  end
  if #popped < count and has_priorities then
    pop_ranked(behind, count - #popped)
  end
  return #popped
end

-- Adds a popped job, or drops its number. Returns the bytes that it added.
local function look_at(id, its_rank, record, text)
  local its_mark = record and record:byte(14)
  local its_options = record and options_of(record) or false
  if not record or not its_rank and (its_mark == 100 or its_mark == 88) then -- 'd', 'X': it stands elsewhere, this is a hole
    redis.call('HINCRBY', q, 'gone', -1)
    has_holes = true
  elseif its_options and its_options.expires and its_options.expires <= now then
    has_died = expire(id, its_options) or has_died
  else
    local place = #ids + 1
    ids[place], records[place], ranks[place], options[place], lives[place] = id, record, its_rank, its_options, text
    mark = (its_options or text) and 'x' or mark
    return #record
  end
  dropped = dropped + 1
  return 0
end

local function pop()
  local bytes, some = 0, 8
  while #ids < want and bytes < MOST_BYTES and dropped < MOST_DROPPED and pop_numbers(math.min(want - #ids, some)) > 0 do
    local found = redis.call('HMGET', jobs, unpack(popped))
    local texts = (popped_ranks[1] or popped_ranks[#popped]) and redis.call('HMGET', live, unpack(popped)) or {}
    for i, record in ipairs(found) do
      bytes = bytes + look_at(popped[i], popped_ranks[i], record, texts[i] or false)
      done = i
    end
    if has_holes then
      dropped, has_holes = dropped + skip_holes(MOST_DROPPED), false
    end
    some = math.max(1, math.min(1000, math.floor((MOST_BYTES - bytes) * #ids / math.max(bytes, 1))))
  end
  is_cut = dropped >= MOST_DROPPED
  if mark == 'x' then -- what waits_no_more touches afterwards must not fail then
    redis.call('HLEN', uniq)
    redis.call('ZCARD', expiring)
  end
end
