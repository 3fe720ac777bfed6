-- Forgets workers that were silent for long, up to 1,000 of their registrations; repeated until none are left.
-- ARGV   given up at (epoch ms), not seen after (epoch ms), worker, worker, … (up to 100)
-- Reply  how many it forgot
local last_seen, queues_of, workers_of, worker_started, worker_processed, worker_failed = unpack(KEYS)
--@include now
--@include unregister
local forgotten, budget = 0, 1000
for i = 3, #ARGV do
  local worker = ARGV[i]
  local seen = redis.call('ZSCORE', last_seen, worker)
  if budget > 0 and seen and tonumber(seen) <= tonumber(ARGV[2]) then
    local members = redis.call('ZRANGEBYLEX', queues_of, '[' .. worker .. '\0', '(' .. worker .. '\1', 'LIMIT', 0, budget)
    budget = budget - math.max(1, #members)
    for _, member in ipairs(#members > 0 and members or { worker .. '\0' }) do
      forgotten = forgotten + (unregister(worker, member:sub(#worker + 2)) and 1 or 0)
    end
  end
end
return forgotten
