-- Remembers for an idempotency key what was leased from this queue, as reserve.lua replies it: "receipt number number …".
local function remember_reservation(queue, receipt, reply, kept_for)
  local said = { receipt }
  for i = 3, #reply, 4 do
    said[#said + 1] = reply[i]
  end
  redis.call('HSET', remembered, queue, table.concat(said, ' '))
  redis.call('PEXPIRE', remembered, kept_for)
end
