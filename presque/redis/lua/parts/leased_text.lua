-- What `live` has of a job that is leased under this receipt; nothing if it is not, or the lease has run out.
local function leased_text(id, receipt)
  local text, length = redis.call('HGET', live, id), #receipt + 1
  if text and text:sub(2, length) == receipt and (#text == length or text:byte(length + 1) == 32) then
    local ends_at = redis.call('ZSCORE', leased, id)
    return ends_at and tonumber(ends_at) > now and text
  end
end
