-- The counts of a queue: {ready, delayed, leased, dead, processed, failed, 1 if stopped else 0, 1 if it exists else 0,
-- age of the oldest ready job (ms, -1 if none), {setting, …} as texts in the order of `setting_names`, '' for unset}. A due
-- job counts as ready, moved or not.

--@include padded
--@include setting
--@include setting_names
local function counts(queue)
  local came_due = redis.call('ZCOUNT', delayed, '-inf', now)
  local age = -1
  for _, id in ipairs({
    redis.call('LINDEX', ready, 0) or '',
    plain(redis.call('ZRANGE', front, 0, 0)[1] or 0),
    plain(came_due > 0 and redis.call('ZRANGE', delayed, 0, 0)[1] or 0),
  }) do
    local job = redis.call('HGET', jobs, id)
    if job then
      age = math.max(age, now - job:sub(1, 13))
    end
  end
  local all = {}
  for i, name in ipairs(setting_names) do
    all[i] = tostring(setting(name) or '')
  end
  return {
    redis.call('LLEN', ready) + redis.call('ZCARD', front) + came_due,
    redis.call('ZCARD', delayed) - came_due,
    redis.call('ZCARD', leased),
    redis.call('ZCARD', dead),
    tonumber(redis.call('HGET', processed, queue) or 0),
    tonumber(redis.call('HGET', failed, queue) or 0),
    redis.call('SISMEMBER', paused, queue),
    redis.call('ZSCORE', queues, queue) and 1 or 0,
    age,
    all,
  }
end
