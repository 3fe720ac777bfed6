-- A page of the leased and held jobs of a queue after a number, in the order of their numbers: see parts/page.lua.

--@include numbers_of
local MOST_SORTED = 20000 -- jobs

-- The numbers above this one, sorted, of all leased and held jobs.
local function all_leased_above(number)
  local numbers = {}
  local function collect(ids)
    for _, id in ipairs(ids) do
      if tonumber(id) > number then
        numbers[#numbers + 1] = tonumber(id)
      end
    end
  end
  collect(redis.call('ZRANGE', leased, 0, -1))
  for _, member in ipairs(redis.call('ZRANGE', held, 0, -1)) do
    collect(numbers_of(member))
  end
  table.sort(numbers)
  return numbers
end

-- The same if there are too many to sort: those among the next 10,000 numbers, and the last of these, wherever it is.
local function next_leased_above(number)
  local first = math.max(number, tonumber(redis.call('HGET', q, 'base'))) + 1
  local last, numbers = math.min(first + 9999, tonumber(redis.call('HGET', q, 'n'))), {}
  for from = first, last, 1000 do
    local ids = {}
    for id = from, math.min(from + 999, last) do
      ids[#ids + 1] = id
    end
    for i, ends_at in ipairs(redis.call('ZMSCORE', leased, unpack(ids))) do
      if ends_at or redis.call('HEXISTS', jobs, ids[i]) == 1 then -- it may be held
        numbers[#numbers + 1] = ids[i]
      end
    end
  end
  if last >= first and numbers[#numbers] ~= last then
    numbers[#numbers + 1] = last
  end
  return numbers
end

local function page_of_leased(number, count)
  local count_of_all = redis.call('HLEN', jobs) - redis.call('LLEN', ready) + (redis.call('HGET', q, 'gone') or 0)
  for _, key in ipairs({ front, behind, delayed, dead }) do
    count_of_all = count_of_all - redis.call('ZCARD', key)
  end
  local is_sortable = count_of_all <= MOST_SORTED -- what is nowhere else is leased, or held by a take
  local numbers, page = is_sortable and all_leased_above(number) or next_leased_above(number), {}
  for i = 1, math.min(count, #numbers) do
    page[i] = { string.format('%d', numbers[i]), '0', 'leased' }
  end
  local last = page[#page] and tonumber(page[#page][1]) or number
  return page, #numbers > #page or not is_sortable and last < tonumber(redis.call('HGET', q, 'n'))
end
