-- A setting of this queue as a number: the value that was set, else its default, else nothing. Times are ms.

--@include setting_defaults
local function setting(name)
  return tonumber(redis.call('HGET', q, name) or setting_defaults[name])
end
