-- The jobs that were leased from this queue with an idempotency key and are still leased: {'again', now (epoch ms), receipt,
-- number, record, attempt, max_attempts, lease ends at (epoch ms), number, …}, or nothing. A '+' records that they were requested
-- again: from then on more than one answer is on its way, so one that does not arrive gives nothing back.

--@include read_live
--@include options_of
--@include setting
local function reserved_before(queue, kept_for)
  local said = redis.call('HGET', remembered, queue)
  if not said then
    return nil
  end
  local receipt, numbers = said:match('^%+?(%S+) (.+)')
  local reply, max_attempts = { 'again', now, receipt }, setting('max_attempts')
  for id in numbers:gmatch('%d+') do
    local ends_at, text = tonumber(redis.call('ZSCORE', leased, id) or 0), redis.call('HGET', live, id)
    local _, under, map = read_live(text or '-')
    if ends_at > now and under == receipt then
      local record = redis.call('HGET', jobs, id)
      reply[#reply + 1] = id
      reply[#reply + 1] = record
      reply[#reply + 1] = (map.attempts or 0) + 1
      reply[#reply + 1] = (options_of(record) or {}).limit or max_attempts
      reply[#reply + 1] = ends_at
    end
  end
  if #reply == 3 then
    redis.call('HDEL', remembered, queue)
    return nil
  end
  redis.call('PEXPIRE', remembered, kept_for) -- first: a full Redis refuses a HSET as a script's first write
  redis.call('HSET', remembered, queue, '+' .. receipt .. ' ' .. numbers)
  return reply
end
