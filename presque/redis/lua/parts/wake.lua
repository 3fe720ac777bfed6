-- Tells up to `count` of the daemons that wait for this queue, those first that wait longest, that it may have a job for each
-- now. A daemon that does not hear it is left out. It only makes waiting consumers prompt, so a Redis user who may not publish
-- loses nothing else: the error of that one command is left alone.
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
