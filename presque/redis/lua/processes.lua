-- Reads what the processes of this store say of themselves.
-- ARGV   given up at (epoch ms), how long it counts (ms)
-- Reply  see parts/said_by_processes.lua
local processes, process_figures = unpack(KEYS)
--@include now
--@include said_by_processes
return said_by_processes(now - ARGV[2])
