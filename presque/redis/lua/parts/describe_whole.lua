-- Everything known about one job, and what a ready one waits for: {<see parts/describe.lua>, why the queue hands nothing out or '',
-- how many jobs are before it, -1 if it is not ready, since when nobody has asked for it: see parts/unasked.lua}.

--@include describe
--@include locate
--@include jobs_before
--@include unasked
local function describe_whole(id, record)
  local place, at = locate(id, record)
  local told = describe(id, record, place, at)
  local off, before, since = redis.call('HGET', q, 'off') or '', -1, -1
  if told[2] == 'ready' then
    before, since = jobs_before(id, place, at), unasked(now - record:sub(1, 13))
  end
  return { told, off, before, since }
end
