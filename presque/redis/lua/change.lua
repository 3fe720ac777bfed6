-- Changes when a ready or delayed job is due, its priority, or when it expires.
-- ARGV   given up at (epoch ms), queue, number, due (epoch ms, +ms from now, or '' to leave it), priority ('' to leave it), expires
--        (epoch ms, '' to leave it, - for never)
-- Reply  as look_up, the job as it is then; {} if it does not exist; 0 if it is leased or dead, or has expired
local q, due, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, waiting = unpack(KEYS)
--@include now
--@include check_keys
--@include describe_whole
--@include locate
--@include leave
--@include make_record
--@include padded
--@include rank
--@include split_record
--@include stand_in_ready
--@include visit_by
--@include wake
local queue, id, due_at, priority, expires = unpack(ARGV, 2, 6)
check_keys()
local record = redis.call('HGET', jobs, id)
if not record then
  return {}
end
local place, at = locate(id, record)
if place == 'leased' or place == 'held' or place == 'dead' then
  return 0
end
local options, payload = split_record(record)
if options.expires and options.expires <= now then -- the mover has not ended it yet
  return 0
end
priority = tonumber(priority) or options.priority or DEFAULT_PRIORITY
options.priority = priority ~= DEFAULT_PRIORITY and priority or nil
if expires ~= '' then
  options.expires = tonumber(expires) -- nothing for '-'
end
if due_at:byte() == 43 then -- '+'
  due_at = now + due_at:sub(2)
end
due_at = tonumber(due_at) or place == 'delayed' and at or nil

local place_in_line = due_at and CAME_DUE + due_at or at % CLASS
local is_in_ready = place == 'ready' or may_stand_in_ready(id)
is_in_ready = is_in_ready and not due_at and priority == DEFAULT_PRIORITY and place_in_line >= WAITING
if place ~= 'ready' or not is_in_ready then
  leave(id, place)
end
redis.call('HSET', jobs, id, make_record(record:sub(1, 13), is_in_ready, options, payload))
local text = redis.call('HGET', live, id)
if text then
  redis.call('HSET', live, id, (next(options) and 'x' or '-') .. text:sub(2))
end
if priority ~= DEFAULT_PRIORITY then
  redis.call('HSET', q, 'classes', 1)
end
if is_in_ready and place ~= 'ready' then
  stand_in_ready(id)
elseif due_at and due_at > now then
  redis.call('ZADD', delayed, due_at, padded(id))
  visit_by(queue, due_at)
elseif not is_in_ready then
  local line = {}
  line_up(line, id, priority, place_in_line)
  stand(line)
end
if options.expires then
  redis.call('ZADD', expiring, options.expires, id)
  visit_by(queue, options.expires)
else
  redis.call('ZREM', expiring, id)
end
wake(due_at and due_at > now and 0 or 1)
return describe_whole(id, redis.call('HGET', jobs, id))
