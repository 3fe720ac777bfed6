-- Makes jobs that are in no state dead. A script that calls it must call `bury` once.

--@include trim_dead
--@include visit_by
local function die(id)
  redis.call('ZADD', dead, now, id)
  redis.call('HINCRBY', q, 'died', 1)
end

local function bury(queue)
  trim_dead()
  visit_by(queue, trim_dead_at())
end
