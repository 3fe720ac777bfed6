-- Opens a stopped queue again.
-- ARGV   given up at (epoch ms), queue
-- Reply  1 when it was stopped, else 0
local paused, ready = unpack(KEYS)
--@include now
--@include wake
local was_paused = redis.call('SREM', paused, ARGV[2])
wake()
return was_paused
