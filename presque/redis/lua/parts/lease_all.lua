-- Leases jobs, each under its own of `receipts`, or else under `receipt`. `options` has a map for those that have any, `lives` what `live` has of them.

--@include read_live
local function lease_all(ids, deadline, receipt, receipts, worker, options, lives)
  local leases, texts = {}, {}
  for i, id in ipairs(ids) do
    local _, _, map = read_live(lives[i] or '-')
    map.worker = worker ~= '' and worker or nil
    leases[2 * i - 1], leases[2 * i] = deadline, id
    texts[2 * i - 1], texts[2 * i] = id, live_text(options[i] and 'x' or '-', receipts[i] or receipt, map)
  end
  redis.call('ZADD', leased, unpack(leases))
  redis.call('HSET', live, unpack(texts))
end
