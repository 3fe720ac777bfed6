-- Adds a time (ms) to what `tally` is to count: to the sum `name`, and to the number of those in its bucket.

--@include time_bucket
local function count_time(added, name, time)
  local bucket = name .. time_bucket(time)
  added[name], added[bucket] = (added[name] or 0) + time, (added[bucket] or 0) + 1
end
