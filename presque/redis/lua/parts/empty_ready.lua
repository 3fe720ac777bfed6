-- Moves the first jobs of `ready` to `front`, in their order and behind all that will have come due: those up to the last one that
-- is out of order or has been taken before. In data model 2, dead jobs that were made ready again stood at the end of `ready`.

--@include convert_record
--@include old_jobs
--@include old_places
--@include padded
--@include rank
--@include spend
local BEHIND_DUE = CAME_DUE + 2 ^ 46

local function empty_ready(state)
  while state.phase == 'empty' and left() > 0 do
    local ids = state.unread > 0 and redis.call('LRANGE', ready, 0, math.min(state.unread, left()) - 1) or {}
    local old, elsewhere, count = old_jobs(ids), old_places(ids), 0
    for i, id in ipairs(ids) do
      if left() == 0 then
        break
      end
      if not elsewhere[id] and convert_record(state, id, old_options(old, i)) then
        convert_live(old, i, id, '')
        redis.call('ZADD', front, rank(DEFAULT_PRIORITY, BEHIND_DUE + state.moved), padded(id))
        state.moved = state.moved + 1
      end
      count = count + 1
    end
    redis.call('LTRIM', ready, count, -1)
    state.unread = state.unread - count
    if state.unread == 0 then
      state.phase = 'kept'
    end
  end
end
