-- Reads the figures of queues of a partition, of each or summed up: up to 100 at a time, for each takes a dozen commands.
-- ARGV   given up at (epoch ms), 1 to sum them up, else '', queue, queue, …
-- Reply  for each queue that exists a list, or one list if they are summed up: {how many exist, how many of them are stopped, ready,
--        delayed, leased, dead, age of the oldest ready job (ms, -1 if there is none; the largest of all), inserted, …}, followed
--        by the counters that `counted` names
local queues = unpack(KEYS)
--@include now
--@include counted
local ready, front, behind, delayed, jobs -- the keys of one queue, which are in the same slot; this only reads
--@include oldest_age
local prefix = queues:match('^(.*)/queues$') .. ':'
local reply, sum = {}, nil

-- {ready, delayed, leased, dead, age of the oldest} of the queue.
local function levels(name, facts)
  local dead = prefix .. name .. ':dead'
  local count = redis.call('HLEN', jobs)
  if count == 0 then
    return { 0, 0, 0, 0, -1 }
  end
  local came_due = redis.call('ZCOUNT', delayed, '-inf', now)
  local ready_now = redis.call('LLEN', ready) - (facts.gone or 0) + redis.call('ZCARD', front) + redis.call('ZCARD', behind) + came_due
  local delayed_now, dead_now = redis.call('ZCARD', delayed) - came_due, redis.call('ZCARD', dead)
  local age = ready_now > 0 and oldest_age() or -1
  return { ready_now, delayed_now, count - ready_now - delayed_now - dead_now, dead_now, age }
end

for i = 3, #ARGV do
  local name, facts = ARGV[i], {}
  local flat = redis.call('HGETALL', prefix .. name .. ':q')
  for at = 1, #flat, 2 do
    facts[flat[at]] = flat[at + 1]
  end
  if facts.n then
    ready, front, behind = prefix .. name .. ':ready', prefix .. name .. ':front', prefix .. name .. ':behind'
    delayed, jobs = prefix .. name .. ':delayed', prefix .. name .. ':jobs'
    local row = { 1, facts.off and 1 or 0, unpack(levels(name, facts)) }
    row[8] = facts.n - (facts.base or 0)
    for at, field in ipairs(counted) do
      row[8 + at] = tonumber(facts[field] or 0)
    end
    if ARGV[2] == '' then
      reply[#reply + 1] = row
    elseif sum then
      for at, figure in ipairs(row) do
        sum[at] = at == 7 and math.max(sum[at], figure) or sum[at] + figure
      end
    else
      sum = row
      reply = { sum }
    end
  end
end
return reply
