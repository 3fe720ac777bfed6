-- Whether a key has a type. What another program left at a key of data model 2 must not end its conversion.
local function is(key, kind)
  return redis.call('TYPE', key).ok == kind
end
