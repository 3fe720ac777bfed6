-- Gives a job that waits again what belongs to a waiting job: its uniq key, unless another job has it by now, and its expiry.
-- Returns its priority (5 by default); nothing if the job was deleted meanwhile. `mark` (- or x) says whether its record has options.

--@include options_of
--@include visit_by
local function waits_again(queue, id, mark)
  if mark == '-' then
    return redis.call('HEXISTS', jobs, id) == 1 and 5 or nil
  end
  local record = redis.call('HGET', jobs, id)
  if not record then
    return nil
  end
  local options = options_of(record) or {}
  if options.unique then
    redis.call('HSETNX', uniq, options.unique, id)
  end
  if options.expires then
    redis.call('ZADD', expiring, options.expires, id)
    visit_by(queue, options.expires)
  end
  return options.priority or 5
end
