-- A job as a caller specifies it (see insert.lua), as `insert` takes it: times from now on are made absolute.
local function specified(due_at, packed, payload)
  if due_at:byte() == 43 then -- '+'
    due_at = string.format('%d', now + due_at:sub(2))
  end
  local options = packed ~= '' and cmsgpack.unpack(packed) or nil
  if options and options.expires_in then
    options.expires, options.expires_in = now + options.expires_in, nil
  end
  return due_at, options, payload
end
