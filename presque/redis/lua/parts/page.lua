-- Pages of a queue's jobs in one state. Their order does not change while they are in that state, and a page begins after a job, not
-- after a count; so whatever is taken, deleted or added meanwhile, a job that stays in the state is on exactly one page. The order
-- is that in which jobs are taken, come due or died; leased ones, whose leases are extended, are in the order of their numbers.

--@include index_in_ready
--@include numbers_of
--@include padded
--@include rank
local MOST_SORTED = 20000

-- The index of the first member of a sorted set that comes after this one, present or not.
local function index_after(key, score, member)
  local low = redis.call('ZCOUNT', key, '-inf', string.format('(%.0f', score)) -- `..` keeps 14 digits
  local high = redis.call('ZCOUNT', key, '-inf', score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if redis.call('ZRANGE', key, middle, middle)[1] <= member then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

local function add_ranked(page, place, key, score, member, count)
  local start = score >= 0 and index_after(key, score, member) or 0
  local found = redis.call('ZRANGE', key, start, start + count - #page - 1, 'WITHSCORES')
  for i = 1, #found, 2 do
    page[#page + 1] = { plain(found[i]), found[i + 1], place }
  end
end

local function page_of_ready(after, number, count)
  local page, first_in_list, first_behind = {}, rank(DEFAULT_PRIORITY, WAITING), rank(DEFAULT_PRIORITY - 1, 0)
  if after < first_behind then
    add_ranked(page, 'front', front, after, padded(number), count)
  end
  if #page < count and after < first_behind then
    local start = after < first_in_list and 0 or index_in_ready(number + 1)
    for _, id in ipairs(redis.call('LRANGE', ready, start, start + count - #page - 1)) do
      page[#page + 1] = { id, string.format('%.0f', first_in_list + id), 'ready' }
    end
  end
  if #page < count then
    add_ranked(page, 'behind', behind, after, padded(number), count)
  end
  return page
end

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

-- The same for so many that to sort them takes long: out of the next 10,000 numbers, and the last of these.
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
  local is_sortable = redis.call('ZCARD', leased) + redis.call('ZCARD', held) <= MOST_SORTED
  local numbers, page = is_sortable and all_leased_above(number) or next_leased_above(number), {}
  for i = 1, math.min(count, #numbers) do
    page[i] = { string.format('%d', numbers[i]), '0', 'leased' }
  end
  local last = page[#page] and tonumber(page[#page][1]) or number
  return page, #numbers > #page or not is_sortable and last < tonumber(redis.call('HGET', q, 'n'))
end

-- Up to `count` jobs of a state after the cursor "score number", from the beginning if that is '': {{number, score, place}, …}; and
-- whether there may be more. Among those with the places ready and leased there may be some that are elsewhere.
local function page(state, cursor, count)
  local score, number = cursor:match('(%d+) (%d+)')
  score, number = tonumber(score or -1), tonumber(number or 0)
  if state == 'leased' then
    return page_of_leased(number, count)
  end
  local found = {}
  if state == 'ready' then
    found = page_of_ready(score, number, count)
  else
    local key, member = dead, string.format('%d', number)
    if state == 'delayed' then
      key, member = delayed, padded(number)
    end
    add_ranked(found, state, key, score, member, count)
  end
  return found, #found == count
end
