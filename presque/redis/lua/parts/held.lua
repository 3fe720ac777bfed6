-- The numbers among the pairs ARGV[at] = number, ARGV[at + 1] = receipt, … that are still held under that receipt.
local function held(at)
  local asked, ids = {}, {}
  for i = at, #ARGV, 2 do
    asked[#asked + 1] = ARGV[i]
  end
  for i, receipt in ipairs(redis.call('HMGET', receipts, unpack(asked))) do
    if receipt == ARGV[at + 2 * i - 1] then
      ids[#ids + 1] = asked[i]
    end
  end
  return ids
end
