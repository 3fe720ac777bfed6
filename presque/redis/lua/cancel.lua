-- Deletes one job, whatever its state.
-- ARGV   given up at (epoch ms), queue, number
-- Reply  1 when the job existed, else 0
local q, ready, front, behind, delayed, leased, dead, jobs, live, uniq, expiring = unpack(KEYS)
--@include now
--@include locate
--@include delete_job
local id = ARGV[3]
local record = redis.call('HGET', jobs, id)
if not record then
  return 0
end
local place = locate(id, record)
redis.call('HLEN', live) -- fails before anything is written if the key has a wrong type
delete_job(id, record, place)
redis.call('HINCRBY', q, 'deleted', 1)
return 1
