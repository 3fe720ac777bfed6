-- Takes a job out of the place that `locate` returned. The number of a held job stays in its member of `held`.

--@include padded
local function leave(id, place)
  if place == 'ready' then
    if redis.call('LINDEX', ready, 0) == id then
      redis.call('LPOP', ready)
    else
      redis.call('HINCRBY', q, 'gone', 1)
    end
  elseif place ~= 'held' then
    local key = ({ front = front, behind = behind, delayed = delayed, leased = leased, dead = dead })[place]
    redis.call('ZREM', key, (place == 'leased' or place == 'dead') and id or padded(id))
  end
end
