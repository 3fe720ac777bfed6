-- The mark for `live` of one job of a take with this mark: - if it has no options, else x. Nothing if the job does not exist.

--@include options_of
local function mark_of(id, mark)
  if mark == '-' then
    return redis.call('HEXISTS', jobs, id) == 1 and '-' or nil
  end
  local record = redis.call('HGET', jobs, id)
  return record and (options_of(record) and 'x' or '-') or nil
end
