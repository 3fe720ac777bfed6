-- Takes up to `want` jobs in order out of `front`, `ready` and, if the queue has priorities, `behind`. No more than about 8 MiB:
-- few at first, then as many at a time as their sizes allow. Jobs that have expired are ended on the way. What it got is in
-- parallel lists: `ids`, `records`, `options` (a map or false), `lives` (what `live` has, or false), `ranks` (false for jobs from
-- `ready`). `mark` is - if none of them has options or anything in `live`, else x. `has_died` is set if a job became dead, and
-- `dropped` counts what had expired or was deleted before: after too many of these it ends.
local MOST_BYTES, MOST_DROPPED = 8388608, 5000
local ids, ranks, records, options, lives, mark = {}, {}, {}, {}, {}, '-'
local popped, popped_ranks, done = {}, {}, 0 -- in this round, and how many of these were looked at
local has_died, dropped = false, 0

local function pop_numbers(count)
  popped, popped_ranks, done = {}, {}, 0
  local ranked = redis.call('ZPOPMIN', front, count)
  for i = 1, #ranked, 2 do
    popped[#popped + 1], popped_ranks[#popped + 1] = string.format('%d', ranked[i]), ranked[i + 1]
  end
  if #popped < count then
    for _, id in ipairs(redis.call('LPOP', ready, count - #popped) or {}) do
      popped[#popped + 1], popped_ranks[#popped + 1] = id, false
    end
  end
  if #popped < count and has_priorities then
    ranked = redis.call('ZPOPMIN', behind, count - #popped)
    for i = 1, #ranked, 2 do
      popped[#popped + 1], popped_ranks[#popped + 1] = string.format('%d', ranked[i]), ranked[i + 1]
    end
  end
  return #popped
end

local function pop(want)
  local bytes, some = 0, 8
  while #ids < want and bytes < MOST_BYTES and dropped < MOST_DROPPED and pop_numbers(math.min(want - #ids, some)) > 0 do
    local found = redis.call('HMGET', jobs, unpack(popped))
    local texts = (popped_ranks[1] or popped_ranks[#popped]) and redis.call('HMGET', live, unpack(popped)) or {}
    for i, record in ipairs(found) do
      local its_mark, its_options = record and record:byte(14), false
      if its_mark == 120 or its_mark == 88 then -- 'x', 'X'
        --@include options_of
        its_options = options_of(record)
      end
      if not record or not popped_ranks[i] and (its_mark == 100 or its_mark == 88) then -- 'd', 'X': elsewhere; this is a hole
        redis.call('HINCRBY', q, 'gone', -1)
        dropped = dropped + 1
      elseif its_options and its_options.expires and its_options.expires <= now then
        --@include expire
        has_died = expire(popped[i], its_options) or has_died
        dropped = dropped + 1
      else
        local at = #ids + 1
        ids[at], ranks[at], records[at], options[at], lives[at] = popped[i], popped_ranks[i], record, its_options, texts[i] or false
        if its_options or texts[i] then
          mark = 'x'
        end
        bytes = bytes + #record
      end
      done = i
    end
    some = math.max(1, math.min(1000, math.floor((MOST_BYTES - bytes) * #ids / math.max(bytes, 1))))
  end
end
