-- The counts of a queue: {ready, delayed, leased, dead, 1 if stopped else 0, 1 if it exists else 0, age of the oldest ready job
-- (ms, -1 if none), {inserted, handed out, delivered, acked, failed, died, expired, deleted}, {setting, …} as texts in the order
-- of `setting_names`; for one that is not set its default, else ''}. A due job counts as ready, moved or not.

--@include oldest_age
--@include setting_defaults
--@include setting_names
local function counts()
  local facts = redis.call('HMGET', q, 'off', 'gone', 'n', 'base', 'out', 'delivered', 'acked', 'failed', 'died', 'expired', 'deleted')
  local settings = redis.call('HMGET', q, unpack(setting_names))
  for i, name in ipairs(setting_names) do
    settings[i] = tostring(settings[i] or setting_defaults[name] or '')
  end
  local came_due = redis.call('ZCOUNT', delayed, '-inf', now)
  local ready_now = redis.call('LLEN', ready) - (facts[2] or 0) + redis.call('ZCARD', front) + redis.call('ZCARD', behind) + came_due
  local delayed_now, dead_now = redis.call('ZCARD', delayed) - came_due, redis.call('ZCARD', dead)
  local figures = { (facts[3] or 0) - (facts[4] or 0) }
  for i = 5, 11 do
    figures[i - 3] = tonumber(facts[i] or 0)
  end
  return {
    ready_now,
    delayed_now,
    redis.call('HLEN', jobs) - ready_now - delayed_now - dead_now, -- leased, or held by a take
    dead_now,
    facts[1] and 1 or 0,
    facts[3] and 1 or 0,
    oldest_age(),
    figures,
    settings,
  }
end
