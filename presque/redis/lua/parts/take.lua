-- Moves jobs that have come due, run out or expired, then takes up to `want` jobs of a queue in order, for `length` (ms). The
-- script that calls this stores them, by `store(got, deadline)` with what `pop` got; `unstore(got)` undoes it if the script fails.
-- Records that the worker ('' if unnamed) was seen, and if there is no job that the daemon ('' for none) waits. Returns how many it
-- took; nothing if the queue hands nothing out.

--@include count_worker
--@include die
--@include move
--@include or_undo
--@include pop
--@include visit_by
--@include wait
--@include waits_no_more
--@include wake
local function take(queue, want, length, worker, daemon, store, unstore)
  local at, off, has_priorities = unpack(redis.call('HMGET', q, 'at', 'off', 'classes'))
  if off then
    wait(daemon)
    return nil
  end
  local moved = 0
  if at and tonumber(at) <= now then
    moved = move(queue, 1000)
    at = redis.call('HGET', q, 'at')
  end
  local got, deadline = nothing_yet(), now + length
  or_undo(function()
    pop(got, want, has_priorities)
    if #got.ids > 0 then
      store(got, deadline)
    end
  end, function()
    unstore(got)
    unpop(got)
  end)
  local taken = #got.ids
  if taken > 0 then
    for i, options in ipairs(got.mark == 'x' and got.options or {}) do
      if options then
        waits_no_more(got.ids[i], options)
      end
    end
    redis.call('HINCRBY', q, 'out', taken)
    if not at or tonumber(at) > deadline then
      visit_at(queue, deadline)
    end
  else
    wait(daemon)
  end
  if got.is_cut then
    visit_at(queue, now)
  elseif got.has_died then
    bury(queue)
  end
  wake(moved - taken) -- there are more jobs than were requested, and the mover will not come for them again
  if worker ~= '' then
    count_worker(worker, worker_processed, taken)
  end
  return taken
end
