-- Reads everything known about one job.
-- ARGV   given up at (epoch ms), queue, number
-- Reply  see parts/describe_whole.lua, or {} if it does not exist
local q, ready, front, behind, delayed, leased, dead, held, jobs, live = unpack(KEYS)
--@include now
--@include describe_whole
local record = redis.call('HGET', jobs, ARGV[3])
return record and describe_whole(ARGV[3], record) or {}
