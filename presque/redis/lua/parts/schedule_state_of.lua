-- What a schedule has done, a map: see `schedule_state` in presque.redis.keys; and `note`, which stores it.
local function schedule_state_of(member)
  local packed = redis.call('HGET', schedule_state, member)
  return packed and cmsgpack.unpack(packed) or {}
end

local function note(member, state)
  redis.call('HSET', schedule_state, member, cmsgpack.pack(state))
end
