-- Finds jobs that stand nowhere, as after a script that failed half way, and puts them in front; only if there are more records
-- than jobs that were put somewhere. Before that it reads `ready` again, also if jobs have left it, as one may have stood there
-- twice: it counts the holes anew, and gives a mark to those records that have none of data model 3.

--@include convert_record
--@include index_in_ready
--@include is_number
--@include old_jobs
--@include padded
--@include rank
--@include rewritten
--@include spend
local function stands_in_ready(id)
  return redis.call('LINDEX', ready, index_in_ready(tonumber(id))) == id
end

-- Whether each record has its job.
local function is_whole(state)
  return redis.call('HLEN', jobs) == state.placed + redis.call('LLEN', ready) - state.gone
end

local function count_holes(state)
  while state.phase == 'holes' and left() > 0 do
    local ids = redis.call('LRANGE', ready, state.unread, state.unread + left() - 1)
    for _, id in ipairs(ids) do
      if left() == 0 then
        return
      end
      local record = redis.call('HGET', jobs, id)
      if not record or is_elsewhere(record) then
        state.gone = state.gone + 1
      elseif not may_stay(record) then -- its uniq key was lost, or another program wrote it
        redis.call('HSET', jobs, id, rewritten(record, true, old_options(old_jobs({ id }), 1)))
      end
      state.unread = state.unread + 1
      spend(1, record and #record or 0)
    end
    if #ids == 0 then
      state.phase = is_whole(state) and 'end' or 'scan'
    end
  end
end

-- `cursor` is that of HSCAN, which is good for as long as Redis runs; returns the next, 0 at the end.
local function scan(state, cursor)
  while state.phase == 'scan' and left() > 0 do
    local found = redis.call('HSCAN', jobs, cursor, 'COUNT', 100)
    cursor = found[1]
    for i = 1, #found[2], 2 do
      local id, record = found[2][i], found[2][i + 1]
      if not is_number(id) then
        redis.call('HDEL', jobs, id)
      elseif not is_elsewhere(record) and not stands_in_ready(id) then
        local old = old_jobs({ id })
        convert_record(state, id, old_options(old, 1))
        convert_live(old, 1, id, '')
        redis.call('ZADD', front, rank(DEFAULT_PRIORITY, tonumber(id)), padded(id))
      end
      spend(2, #record)
    end
    if cursor == '0' then
      state.phase = 'end'
    end
  end
  return cursor
end

local function find_lost(state, cursor)
  if state.phase == 'lost' and left() > 0 then
    if state.moved == 0 and state.gone == 0 and state.spoilt == 0 and is_whole(state) then
      state.phase = 'end'
    else
      state.phase, state.unread, state.gone = 'holes', 0, 0
    end
  end
  count_holes(state)
  return scan(state, cursor)
end
