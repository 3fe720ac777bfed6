-- Moves jobs of the queue that have come due, run out or expired, so that what reads it next sees each where it belongs. Returns
-- whether there may be more of them.

--@include move
--@include wake
local function move_if_due(queue)
  local at = redis.call('HGET', q, 'at')
  if not at or tonumber(at) > now then
    return false
  end
  local ready_again, all = move(queue, 1000)
  wake(ready_again)
  return all >= 1000
end
