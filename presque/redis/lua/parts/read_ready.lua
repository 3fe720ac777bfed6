-- Reads what was not read yet of `ready`, from its end on. The jobs that stand there in ascending order and were never taken stay
-- there; those with options get a new record. Before the first other one, all have to leave: see parts/empty_ready.lua.

--@include is_number
--@include make_record
--@include old_jobs
--@include old_places
--@include spend
local function stay(id, options)
  if options then
    local record = redis.call('HGET', jobs, id)
    redis.call('HSET', jobs, id, make_record(record:sub(1, 13), true, options, record:sub(15)))
    spend(0, #record)
  end
end

local function read_ready(state)
  while state.phase == 'read' and left() > 0 do
    local start = math.max(0, state.unread - left())
    local ids = state.unread > 0 and redis.call('LRANGE', ready, start, state.unread - 1) or {}
    local old, elsewhere = old_jobs(ids), old_places(ids)
    for i = #ids, 1, -1 do
      local id = ids[i]
      local stands = not elsewhere[id] and redis.call('HEXISTS', jobs, id) == 1
      if not is_number(id) or tonumber(id) >= state.following or stands and has_failed(old, i) then
        state.phase = 'empty'
      end
      if state.phase == 'empty' or left() == 0 then
        return
      end
      if stands then
        stay(id, old_options(old, i))
        state.placed = state.placed + 1
      else
        state.gone = state.gone + 1
      end
      state.unread, state.following = start + i - 1, tonumber(id)
      spend(1, 0)
    end
    if state.unread == 0 then
      state.phase = 'empty'
    end
  end
end
