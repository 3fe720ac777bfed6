-- Which of these numbers in `ready` stand in another key too, as after a script that failed half way: a map.

--@include is
--@include is_number
--@include padded
local function old_places(ids)
  local elsewhere = {}
  if #ids == 0 or redis.call('EXISTS', old_leased, old_dead, old_delayed, old_front) == 0 then
    return elsewhere
  end
  for key, is_padded in pairs({ [old_leased] = false, [old_dead] = false, [old_delayed] = true, [old_front] = true }) do
    if is(key, 'zset') then
      local names = {}
      for i, id in ipairs(ids) do
        names[i] = is_padded and is_number(id) and padded(id) or id
      end
      for i, score in ipairs(redis.call('ZMSCORE', key, unpack(names))) do
        elsewhere[ids[i]] = elsewhere[ids[i]] or score and true or nil
      end
    end
  end
  return elsewhere
end
