-- Wakes another daemon, on behalf of one that was woken when none of its consumers waited any more.
-- ARGV   given up at (epoch ms), queue
-- Reply  1
local ready, waiting = unpack(KEYS)
--@include now
--@include wake
wake(1)
return 1
