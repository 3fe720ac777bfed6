-- Reads the figures of queues of a partition, of each or summed up: of a few dozen at a time, for each takes some commands.
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
local EXIST, STOPPED, READY, DELAYED, LEASED, DEAD, AGE, INSERTED = 1, 2, 3, 4, 5, 6, 7, 8
local places = { n = INSERTED } -- field of `q` -> its place in a row
for i, field in ipairs(counted) do
  places[field] = INSERTED + i
end

local function empty_row()
  local row = {}
  for i = 1, INSERTED + #counted do
    row[i] = 0
  end
  row[AGE] = -1
  return row
end

-- Adds the jobs of a queue, by state. Most queues have them all in `ready`, or have none.
local function add_jobs(row, dead, gone)
  local count, ready_now, delayed_now, dead_now = redis.call('HLEN', jobs), 0, 0, 0
  if count > 0 then
    ready_now = redis.call('LLEN', ready) - gone
  end
  if ready_now < count then
    local came_due = redis.call('ZCOUNT', delayed, '-inf', now)
    ready_now = ready_now + redis.call('ZCARD', front) + redis.call('ZCARD', behind) + came_due
    delayed_now, dead_now = redis.call('ZCARD', delayed) - came_due, redis.call('ZCARD', dead)
  end
  if ready_now > 0 then
    row[AGE] = math.max(row[AGE], oldest_age())
  end
  row[READY], row[DELAYED], row[DEAD] = row[READY] + ready_now, row[DELAYED] + delayed_now, row[DEAD] + dead_now
  row[LEASED] = row[LEASED] + count - ready_now - delayed_now - dead_now -- leased, or held by a take
end

local function add_queue(row, name)
  local flat, gone = redis.call('HGETALL', prefix .. name .. ':q'), 0
  for i = 1, #flat, 2 do
    local field, value = flat[i], flat[i + 1]
    local place = places[field]
    if place then
      row[place] = row[place] + value
    elseif field == 'base' then
      row[INSERTED] = row[INSERTED] - value
    elseif field == 'off' then
      row[STOPPED] = row[STOPPED] + 1
    elseif field == 'gone' then
      gone = tonumber(value)
    end
  end
  if #flat > 0 then
    row[EXIST] = row[EXIST] + 1
    ready, front, behind = prefix .. name .. ':ready', prefix .. name .. ':front', prefix .. name .. ':behind'
    delayed, jobs = prefix .. name .. ':delayed', prefix .. name .. ':jobs'
    add_jobs(row, prefix .. name .. ':dead', gone)
  end
end

local reply = {}
for i = 3, #ARGV do
  local row = ARGV[2] ~= '' and reply[1] or empty_row()
  pcall(add_queue, row, ARGV[i]) -- a key of a wrong type spoils the figures of its own queue alone
  reply[ARGV[2] ~= '' and 1 or #reply + 1] = row[EXIST] > 0 and row or nil
end
return reply
