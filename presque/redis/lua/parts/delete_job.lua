-- Deletes a job, whose place `locate` returned.

--@include leave
--@include options_of
--@include waits_no_more
local function delete_job(id, record, place)
  waits_no_more(id, options_of(record) or {})
  leave(id, place)
  redis.call('HDEL', jobs, id)
  redis.call('HDEL', live, id)
end
