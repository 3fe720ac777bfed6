-- Records for which worker each job is kept: the first releases with data model 2 had that in `kept` alone.

--@include is
--@include spend
local function name_keepers(state)
  while state.phase == 'kept' and left() > 0 do
    local workers = is(old_kept, 'hash') and redis.call('HRANDFIELD', old_kept, 100) or {}
    for _, worker in ipairs(workers) do
      if left() == 0 then
        return
      end
      for id, receipt in redis.call('HGET', old_kept, worker):gmatch('(%S+) (%S+)') do
        if redis.call('HGET', old_receipts, id) == receipt then
          redis.call('HSET', old_holders, id, receipt .. ' ' .. worker)
        end
        spend(1, 0)
      end
      redis.call('HDEL', old_kept, worker)
      spend(1, 0)
    end
    if #workers == 0 then
      state.phase = 'places'
    end
  end
end
