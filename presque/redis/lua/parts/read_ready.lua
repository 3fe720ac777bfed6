-- Reads what was not read yet of `ready`, from its end on. The jobs that stand there in ascending order and were never taken stay
-- there; those with options get a new record. Before the first other one, all have to leave: see parts/empty_ready.lua.

--@include is_number
--@include make_record
--@include old_jobs
--@include old_places
--@include spend
local function write_options(id, options)
  local record = redis.call('HGET', jobs, id)
  redis.call('HSET', jobs, id, make_record(record:sub(1, 13), true, options, record:sub(15)))
  spend(0, #record)
end

-- The numbers, false for what is none. Most pages have nothing else, which one look at the whole shows.
local function to_numbers(ids)
  local text, numbers = ' ' .. table.concat(ids, ' '), {}
  local has_others = text:find('[^%d ]') or text:find(' 0', 1, true) or text:find('  ', 1, true) or text:sub(-1) == ' '
  for i, id in ipairs(ids) do
    numbers[i] = (not has_others or is_number(id)) and tonumber(id)
  end
  return numbers
end

-- Reads up to a thousand of them; without other data than numbers, they count half. Returns whether all that it read stay.
local function read_page(state)
  local start = math.max(0, state.unread - left())
  local ids = redis.call('LRANGE', ready, start, state.unread - 1)
  local old, elsewhere, numbers = old_jobs(ids), old_places(ids), to_numbers(ids)
  local is_plain, following = not old.exist and not next(elsewhere), state.following
  for i = #ids, 1, -1 do
    local id, number = ids[i], numbers[i]
    local stands = redis.call('HEXISTS', jobs, id) == 1 and (is_plain or not elsewhere[id])
    if not number or number >= following or stands and not is_plain and has_failed(old, i) then
      return false
    end
    local options = stands and not is_plain and old_options(old, i)
    if options then
      write_options(id, options)
    end
    local count = stands and 'stay' or 'gone'
    state[count] = state[count] + 1
    state.unread, state.following, following = start + i - 1, number, number
    if options and left() == 0 then
      return true
    end
  end
  spend(is_plain and #ids / 2 or #ids, 0)
  return true
end

local function read_ready(state)
  while state.phase == 'read' and left() > 0 do
    if state.unread == 0 or not read_page(state) then
      state.phase = 'empty'
    end
  end
end
