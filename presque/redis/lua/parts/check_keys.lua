-- Raises an error if a key that a job of this queue may be in, or that goes with a job, has a wrong type. Redis rolls nothing back
-- when a command fails: so scripts that move jobs call this before they write anything, and cannot leave half a job.
local function check_keys()
  for _, key in ipairs({ front, behind, delayed, leased, dead, held, expiring, due }) do
    redis.call('ZCARD', key)
  end
  for _, key in ipairs({ jobs, live, uniq, q }) do
    redis.call('HLEN', key)
  end
  redis.call('LLEN', ready)
end
