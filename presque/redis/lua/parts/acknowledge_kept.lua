-- Ends the jobs that the queue keeps for a worker.

--@include end_held
--@include kept_members
local function acknowledge_kept(worker)
  redis.call('HLEN', jobs) -- fails before anything is written if the key has a wrong type
  redis.call('HLEN', live)
  end_held((kept_members(worker, math.huge)))
end
