-- Tells up to `count` daemons that wait for this queue, longest waiting first, that it may have a job for each now. Daemons
-- that do not receive it are skipped. This only makes waiting consumers prompt, so a Redis user without permission to publish
-- loses nothing else: the error of that command is ignored.
local function wake(count)
  while count > 0 do
    local daemon = redis.call('ZPOPMIN', waiting)[1]
    if not daemon then
      return
    end
    if redis.pcall('PUBLISH', ready .. '/' .. daemon, '') ~= 0 then
      count = count - 1
    end
  end
end
