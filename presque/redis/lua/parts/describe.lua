-- Everything known about a job: {state, stored job, attempts failed, max_attempts, time, history, uniq key, worker}. The time
-- (epoch ms) is when it is due, its lease ends or it died, '' if it is ready; the worker is the one that holds it, '' if none
-- does or its name is unknown. Nothing if the job does not exist.

--@include padded
--@include setting
local function holder(id)
  local receipt, worker = (redis.call('HGET', holders, id) or ''):match('(%S+) (.+)')
  return receipt and receipt == redis.call('HGET', receipts, id) and worker or ''
end

local function describe(id)
  local job = redis.call('HGET', jobs, id)
  if not job then
    return nil
  end
  local state, at = 'ready', ''
  for name, score in pairs({
    delayed = redis.call('ZSCORE', delayed, padded(id)),
    leased = redis.call('ZSCORE', leased, id),
    dead = redis.call('ZSCORE', dead, id),
  }) do
    if score and not (name == 'delayed' and tonumber(score) <= now) then
      state, at = name, score
    end
  end
  return {
    state,
    job,
    redis.call('HGET', attempts, id) or '0',
    redis.call('HGET', limits, id) or tostring(setting('max_attempts')),
    at,
    redis.call('HGET', history, id) or '',
    redis.call('HGET', uniq_of, id) or '',
    state == 'leased' and holder(id) or '',
  }
end
