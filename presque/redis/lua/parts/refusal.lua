-- Why `count` jobs cannot be inserted, as `insert` returns it; nothing if they can.
local function refusal(count, spec)
  local max_length, accepting = unpack(redis.call('HMGET', settings, 'max_length', 'accepting'))
  if accepting == '0' then
    return { 'closed' }
  end
  if max_length then
    local length = redis.call('LLEN', ready) + redis.call('ZCARD', front) + redis.call('ZCARD', delayed)
    if length + count > tonumber(max_length) then
      return { 'full' }
    end
  end
  local keys = {}
  for i = 1, count do
    local _, key = spec(i)
    if key ~= '' then
      local existing = redis.call('HGET', uniq, key) or keys[key]
      if existing then
        return { 'duplicate', existing }
      end
      keys[key] = 0
    end
  end
end
