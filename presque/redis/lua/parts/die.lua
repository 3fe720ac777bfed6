-- Makes jobs that are in no state dead. A script that calls it must call `bury` once. Who died, after how many failed attempts and
-- why is noted in `live` for the mover, which tells it in the log: see `deaths` in presque.redis.keys.

--@include trim_dead
--@include visit_by
local function die(id, attempts, why)
  redis.call('ZADD', dead, now, id)
  redis.call('HINCRBY', q, 'died', 1)
  local noted = redis.call('HGET', live, 'deaths')
  if not noted or #noted < 32768 then -- hundreds of deaths in a tick; the others are only counted
    local death = id .. ' ' .. attempts .. ' ' .. why:match('^[^\r\n]*'):sub(1, 200)
    redis.call('HSET', live, 'deaths', noted and noted .. '\n' .. death or death)
  end
end

local function bury(queue)
  trim_dead()
  visit_by(queue, now)
end
