-- Inserts the job of a schedule, and notes that in `state`. Returns what `insert` returns.

--@include insert
--@include specified
local function insert_scheduled(queue, schedule, state)
  redis.call('ZCARD', waiting) -- `insert` wakes last: so this fails before anything is written if the key has a wrong type
  local first, letters = insert(queue, 1, function()
    return specified(schedule.due_at, schedule.options, schedule.payload)
  end)
  if letters then
    state.last_number, state.last_at, state.fired = first, now, (state.fired or 0) + 1
  end
  return first, letters
end
