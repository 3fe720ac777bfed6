-- Where a job is: the name of the key that it is in, and its score there. A job in `ready` has the rank that it would have in
-- `front`; one in none of the keys is held by a take. This reads all these keys, so a script that calls it first fails before
-- it writes anything if one of them has a wrong type.

--@include belongs_in_ready
--@include padded
--@include rank
local function locate(id, record)
  local number, member = tonumber(id), padded(id)
  for name, at in pairs({
    delayed = redis.call('ZSCORE', delayed, member),
    front = redis.call('ZSCORE', front, member),
    behind = redis.call('ZSCORE', behind, member),
    leased = redis.call('ZSCORE', leased, id),
    dead = redis.call('ZSCORE', dead, id),
  }) do
    if at then
      return name, tonumber(at)
    end
  end
  local first = redis.call('LINDEX', ready, 0)
  if first and number >= tonumber(first) and belongs_in_ready(record) then
    return 'ready', rank(DEFAULT_PRIORITY, WAITING + number)
  end
  return 'held', nil
end
