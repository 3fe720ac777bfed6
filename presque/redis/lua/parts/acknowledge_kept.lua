-- Ends the jobs that the queue keeps for a worker.

--@include end_held
--@include release_kept
local function acknowledge_kept(worker)
  for _, member in ipairs(release_kept(worker)) do
    end_held(member)
  end
end
