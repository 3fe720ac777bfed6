-- Everything known about one job, and what a ready one waits for: {<see parts/describe.lua>, why the queue hands nothing out or '',
-- how many jobs are before it, -1 if it is not ready}.

--@include describe
--@include locate
--@include jobs_before
local function describe_whole(id, record)
  local place, at = locate(id, record)
  local told = describe(id, record, place, at)
  return { told, redis.call('HGET', q, 'off') or '', told[2] == 'ready' and jobs_before(id, place, at) or -1 }
end
