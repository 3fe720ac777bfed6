-- Moves jobs that have come due or run out, then takes up to `want` jobs of a queue in order, held under a receipt for `length`
-- (ms). Calls `each(number, stored job)` for every one. Records that the worker ('' if unnamed) was seen, and if there is no
-- job that the daemon ('' for none) waits. Returns how many; nothing if the queue is stopped.

--@include count_worker
--@include move
--@include pop
--@include wait
--@include wake
local function take(queue, want, length, receipt, worker, daemon, each)
  if redis.call('SISMEMBER', paused, queue) == 1 then
    wait(daemon)
    return nil
  end
  local move_at, moved = redis.call('ZSCORE', due, queue), 0
  if move_at and tonumber(move_at) <= now then
    moved = move(queue, 1000)
  end
  local taken = pop(queue, want, now + length, receipt, each)
  wake(moved - taken) -- there are more jobs than were requested, and the mover will not come for them again
  if taken == 0 then
    wait(daemon)
  end
  if worker ~= '' then
    count_worker(worker, worker_processed, taken)
  end
  return taken
end
