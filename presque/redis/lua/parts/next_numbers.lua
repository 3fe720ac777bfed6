-- Numbers `count` jobs to be inserted; the queue begins to exist if necessary. Returns the number of the first, which the others
-- follow. Or, if they cannot be inserted, {'closed'} if the queue accepts none, {'full'}, {'large'}, {'many'} if there are too many
-- queues to create it, or what `refusal()` returns.
local function next_numbers(queue, count, refusal)
  local n, accepting, max_length, max_bytes = unpack(redis.call('HMGET', q, 'n', 'accepting', 'max_length', 'max_bytes'))
  if accepting == '0' then
    return { 'closed' }
  end
  if max_length then
    local length = redis.call('LLEN', ready) - (redis.call('HGET', q, 'gone') or 0)
    for _, key in ipairs({ front, behind, delayed }) do
      length = length + redis.call('ZCARD', key)
    end
    if length + count > tonumber(max_length) then
      return { 'full' }
    end
  end
  if max_bytes and (redis.call('MEMORY', 'USAGE', jobs, 'SAMPLES', 20) or 0) >= tonumber(max_bytes) then
    return { 'large' }
  end
  local refused = refusal and refusal()
  if refused then
    return refused
  end
  -- Of what follows, a full Redis may refuse the first write; nothing has changed before it.
  if not n then
    --@include max_queues
    if redis.call('ZCARD', queues) >= max_queues then
      return { 'many' }
    end
    local base = redis.call('GET', floor) or 0
    redis.call('ZADD', queues, 0, queue)
    redis.call('HSET', q, 'n', base + count, 'base', base)
    return base + 1
  end
  return redis.call('HINCRBY', q, 'n', count) - count + 1
end
