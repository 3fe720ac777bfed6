-- Takes up to `want` jobs in order out of `front`, `ready` and, if the queue has priorities, `behind`. No more than about 8 MiB:
-- few at first, then as many at a time as their sizes allow. Jobs that have expired are ended on the way. `got` is what
-- `nothing_yet` returned, and gets parallel lists: `ids`, `records`, `options` (a map or false), `lives` (what `live` has, or
-- false), `ranks` (false for jobs from `ready`). Its `mark` is - if no job has options or anything in `live`, else x. `has_died`
-- is set if a job became dead, and `is_cut` if so many were deleted or had expired that this did not get to the next one.

--@include expire
--@include options_of
--@include padded
--@include rank
local MOST_BYTES, MOST_DROPPED = 8388608, 5000

local function nothing_yet()
  return { ids = {}, ranks = {}, records = {}, options = {}, lives = {}, mark = '-', popped = {}, popped_ranks = {}, done = 0 }
end

-- Pops up to `count` numbers.
local function pop_numbers(got, count, has_priorities)
  local ids, ranks = {}, {}
  got.popped, got.popped_ranks, got.done = ids, ranks, 0
  local function pop_ranked(key)
    local popped = redis.call('ZPOPMIN', key, count - #ids)
    for i = 1, #popped, 2 do
      ids[#ids + 1] = plain(popped[i])
      ranks[#ids] = popped[i + 1]
    end
  end
  pop_ranked(front)
  if #ids < count then
    for _, id in ipairs(redis.call('LPOP', ready, count - #ids) or {}) do
      ids[#ids + 1] = id
      ranks[#ids] = false
    end
  end
  if #ids < count and has_priorities then
    pop_ranked(behind)
  end
  return ids, ranks
end

local function put_back(ids, ranks, from)
  for i = #ids, from, -1 do
    if not ranks[i] then
      redis.pcall('LPUSH', ready, ids[i])
    else
      local is_in_front = tonumber(ranks[i]) < rank(DEFAULT_PRIORITY - 1, 0)
      redis.pcall('ZADD', is_in_front and front or behind, ranks[i], padded(ids[i]))
    end
  end
end

-- Undoes it, if the script fails.
local function unpop(got)
  put_back(got.popped, got.popped_ranks, got.done + 1)
  put_back(got.ids, got.ranks, 1)
end

local function count_in(got, id, score, record, options, text)
  local at = #got.ids + 1
  got.ids[at], got.ranks[at], got.records[at] = id, score, record
  got.options[at], got.lives[at] = options or false, text or false
  if options or text then
    got.mark = 'x'
  end
end

local function pop(got, want, has_priorities)
  local bytes, dropped, some = 0, 0, 8
  while #got.ids < want and bytes < MOST_BYTES and dropped < MOST_DROPPED do
    local ids, ranks = pop_numbers(got, math.min(want - #got.ids, some), has_priorities)
    if #ids == 0 then
      return
    end
    local records = redis.call('HMGET', jobs, unpack(ids))
    local lives = (ranks[1] or ranks[#ids]) and redis.call('HMGET', live, unpack(ids)) or {}
    for i, id in ipairs(ids) do
      local record = records[i]
      local mark = record and record:byte(14)
      local options = (mark == 120 or mark == 88) and options_of(record) -- 'x', 'X'
      if not record or not ranks[i] and (mark == 100 or mark == 88) then -- 'd', 'X': it stands elsewhere, this is a hole
        redis.call('HINCRBY', q, 'gone', -1)
        dropped = dropped + 1
      elseif options and options.expires and options.expires <= now then
        got.has_died = expire(id, options) or got.has_died
        dropped = dropped + 1
      else
        count_in(got, id, ranks[i], record, options, lives[i])
        bytes = bytes + #record
      end
      got.done = i
    end
    some = math.max(1, math.min(1000, math.floor((MOST_BYTES - bytes) * #got.ids / math.max(bytes, 1))))
  end
  got.is_cut = dropped >= MOST_DROPPED
end
