-- Makes a delayed or dead job ready, in front as if it had come due now; a dead one with no attempts counted.
-- ARGV   given up at (epoch ms), queue, number
-- Reply  as look_up, the job as it is then; {} if it does not exist; 0 if it is in another state
local q, due, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, waiting = unpack(KEYS)
--@include now
--@include check_keys
--@include describe_whole
--@include locate
--@include options_of
--@include padded
--@include rank
--@include revive
--@include wake
local queue, id = ARGV[2], ARGV[3]
check_keys()
local record = redis.call('HGET', jobs, id)
if not record then
  return {}
end
local place, at = locate(id, record)
local line = {}
if place == 'dead' then
  revive(queue, id, line)
elseif place == 'delayed' and at > now then
  redis.call('ZREM', delayed, padded(id))
  line_up(line, id, (options_of(record) or {}).priority or DEFAULT_PRIORITY, CAME_DUE + now)
else
  return 0
end
stand(line)
wake(1)
return describe_whole(id, record)
