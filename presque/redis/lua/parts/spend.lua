-- Bounds what one call of a conversion does: to 500 jobs that move, 1,000 that are looked at or 2,000 that are plain, and to 4 MiB of
-- records but for the last.
local jobs_left, bytes_left = 1000, 4194304

local function spend(count, bytes)
  jobs_left, bytes_left = jobs_left - count, bytes_left - bytes
end

-- How many more jobs this call may convert.
local function left()
  return bytes_left > 0 and math.ceil(math.max(jobs_left, 0)) or 0
end
