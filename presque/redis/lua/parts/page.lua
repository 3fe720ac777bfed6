-- Pages of a queue's jobs in one state. Their order does not change while they are in that state (unless change.lua changes it), and
-- a page begins after a job, not after a count; so whatever is taken, deleted or added meanwhile, a job that stays in the state is on
-- exactly one page. The order is that in which jobs are taken, come due or died; leased ones, whose leases may be extended, are in
-- the order of their numbers.

--@include bisect
--@include index_in_ready
--@include padded
--@include page_of_leased
--@include rank

-- The index of the first member of a sorted set that comes after this one, present or not.
local function index_after(key, score, member)
  local low = redis.call('ZCOUNT', key, '-inf', string.format('(%.0f', score)) -- `..` keeps 14 digits
  local high = redis.call('ZCOUNT', key, '-inf', score)
  return bisect(low, high, function(index)
    return redis.call('ZRANGE', key, index, index)[1] <= member
  end)
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
