-- How long (ms) a job waits for its next try after `count` failed attempts, by the queue's back-off. `chance` (0 to 1)
-- randomizes it by up to a fifth either way.

--@include setting
local function back_off(count, chance)
  local first = setting('backoff_first')
  if first == 0 then
    return 0
  end
  local delay = first * setting('backoff_factor') ^ (count - 1) -- which may be infinite
  return math.floor(math.min(delay, setting('backoff_max')) * (0.8 + 0.4 * chance))
end
