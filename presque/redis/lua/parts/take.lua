-- Takes up to `want` jobs of a queue in their order, after those that have come due or run out were moved, and has them held
-- under a receipt for `length` (ms). Calls `each(number, stored job)` for every one. It notes that the worker ('' without a name)
-- was seen, and when there is nothing that the daemon ('' for none) waits. Returns how many; nothing when the queue is stopped.

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
  wake(moved - taken) -- there is more than was asked for, and the mover will not come for it again
  if taken == 0 then
    wait(daemon)
  end
  if worker ~= '' then
    count_worker(worker, worker_processed, taken)
  end
  return taken
end
