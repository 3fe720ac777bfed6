-- A setting of this queue: what was set, else the default. Times are ms.
local defaults = {
  lease = 60000,
  max_attempts = 5,
  backoff_first = 5000,
  backoff_factor = 2,
  backoff_max = 3600000,
  dead_count = 10000,
  dead_age = 1209600000, -- 14 days
}
local function setting(name)
  return tonumber(redis.call('HGET', settings, name) or defaults[name])
end
