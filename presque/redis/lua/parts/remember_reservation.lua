-- Remembers for an idempotency key what was leased, as reserve.lua replies it: "receipt number number …".
local function remember_reservation(receipt, reply, kept_for)
  local said = { receipt }
  for i = 3, #reply, 4 do
    said[#said + 1] = reply[i]
  end
  redis.call('SET', remembered, table.concat(said, ' '), 'PX', kept_for)
end
