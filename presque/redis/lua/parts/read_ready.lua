-- Reads what was not read yet of `ready`, from its end on. The jobs that stand there in ascending order and were never taken stay
-- there; those with options get a new record. Before the first other one, all have to leave: see parts/empty_ready.lua.

--@include is_number
--@include old_jobs
--@include old_places
--@include rewritten
--@include spend
local function write_options(id, options)
  local record = redis.call('HGET', jobs, id)
  redis.call('HSET', jobs, id, rewritten(record, true, options))
  spend(0, #record)
end

-- Whether all of these are numbers, as on nearly every page.
local function are_numbers(ids)
  local text = ' ' .. table.concat(ids, ' ') .. ' '
  return not (text:find('[^%d ]') or text:find(' 0', 1, true) or text:find('  ', 1, true))
end

-- Reads up to a thousand; if there is nothing but numbers, they count half. Returns whether all that it read stay.
local function read_page(state)
  local start = math.max(0, state.unread - left())
  local ids = redis.call('LRANGE', ready, start, state.unread - 1)
  local old, elsewhere, is_usual = old_jobs(ids), old_places(ids), are_numbers(ids)
  local is_plain, all_stay, at = not old.exist and not next(elsewhere), true, #ids
  local following, gone = state.following, 0
  while at > 0 and left() > 0 do
    local id = ids[at]
    local number = (is_usual or is_number(id)) and tonumber(id)
    local stands = redis.call('HEXISTS', jobs, id) == 1 and (is_plain or not elsewhere[id])
    if not number or number >= following or stands and not is_plain and has_failed(old, at) then
      all_stay = false
      break
    end
    if not stands then
      gone = gone + 1
    elseif not is_plain and old_options(old, at) then
      write_options(id, old_options(old, at))
    end
    following, at = number, at - 1
  end
  state.stay, state.gone = state.stay + #ids - at - gone, state.gone + gone
  state.unread, state.following = start + at, following
  spend(is_plain and #ids / 2 or #ids, 0)
  return all_stay
end

local function read_ready(state)
  while state.phase == 'read' and left() > 0 do
    if state.unread == 0 or not read_page(state) then
      state.phase = 'empty'
    end
  end
end
