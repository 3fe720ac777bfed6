-- Stores for an idempotency key which jobs of reserve.lua's reply were leased from this queue: "receipt number number …".
local function remember_reservation(queue, receipt, reply, kept_for)
  local said = { receipt }
  for i = 3, #reply, 4 do
    said[#said + 1] = reply[i]
  end
  redis.call('HSET', remembered, queue, table.concat(said, ' '))
  redis.call('PEXPIRE', remembered, kept_for)
end
