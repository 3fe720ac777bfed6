-- Which of these numbers in `ready` stand in another key too, as after a script that failed half way: a map.

--@include is
--@include is_number
--@include padded
local function old_places(ids)
  local numbers, members, elsewhere = {}, {}, {}
  for i, id in ipairs(ids) do
    numbers[i] = is_number(id) and id or '0'
    members[i] = padded(numbers[i])
  end
  for key, names in pairs({ [old_leased] = numbers, [old_dead] = numbers, [old_delayed] = members, [old_front] = members }) do
    for i, score in ipairs(#ids > 0 and is(key, 'zset') and redis.call('ZMSCORE', key, unpack(names)) or {}) do
      elsewhere[ids[i]] = elsewhere[ids[i]] or score and true or nil
    end
  end
  return elsewhere
end
