-- Whether a job is what a request is about: its last error has `wanted` in it ('' for any), and it was inserted `older_than` ms ago
-- or earlier ('' for any).

--@include read_live
local function matches(id, record, wanted, older_than)
  if older_than ~= '' and now - record:sub(1, 13) < tonumber(older_than) then
    return false
  end
  if wanted == '' then
    return true
  end
  local text = redis.call('HGET', live, id)
  local failures = text and select(3, read_live(text)).failures
  return failures and failures[#failures][3]:find(wanted, 1, true) and true or false
end
