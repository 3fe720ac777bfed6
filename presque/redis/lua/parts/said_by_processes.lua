-- What processes have said of themselves since a time (epoch ms): {process, figures, process, figures, …}.
local function said_by_processes(since)
  local reply = {}
  for _, process in ipairs(redis.call('ZRANGEBYSCORE', processes, since, '+inf', 'LIMIT', 0, 1000)) do
    reply[#reply + 1], reply[#reply + 2] = process, redis.call('HGET', process_figures, process) or ''
  end
  return reply
end
