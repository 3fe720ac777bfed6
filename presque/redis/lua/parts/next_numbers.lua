-- Numbers `count` jobs to be inserted; the queue begins to exist if necessary. Returns the number of the first, which the others
-- follow. Or, if they cannot be inserted, {'closed'} if the queue accepts none, {'full'}, {'large'}, {'many'} if there are too many
-- queues to create it, or what `refusal()` returns; the queue counts that, unless the caller `is_trying`.
local function next_numbers(queue, count, refusal, is_trying)
  local n, accepting, max_length, max_bytes = unpack(redis.call('HMGET', q, 'n', 'accepting', 'max_length', 'max_bytes'))
  local refused = accepting == '0' and { 'closed' }
  if max_length and not refused then
    local length = redis.call('LLEN', ready) - (redis.call('HGET', q, 'gone') or 0)
    for _, key in ipairs({ front, behind, delayed }) do
      length = length + redis.call('ZCARD', key)
    end
    refused = length + count > tonumber(max_length) and { 'full' }
  end
  if max_bytes and not refused and (redis.call('MEMORY', 'USAGE', jobs, 'SAMPLES', 20) or 0) >= tonumber(max_bytes) then
    refused = { 'large' }
  end
  refused = refused or refusal and refusal()
  if refused then
    if n and not is_trying then
      redis.pcall('HINCRBY', q, 'refused_' .. refused[1], 1) -- which a full Redis may refuse in turn
    end
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
