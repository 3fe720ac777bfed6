-- What `live` has of a job that is leased under this receipt; nothing if it is not, or the lease has run out.

--@include is_under
local function leased_text(id, receipt)
  local text = redis.call('HGET', live, id)
  local ends_at = is_under(text, receipt) and redis.call('ZSCORE', leased, id)
  return ends_at and tonumber(ends_at) > now and text
end
