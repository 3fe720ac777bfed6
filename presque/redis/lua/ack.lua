-- Acknowledges leased jobs: settle.lua for this outcome alone.
-- ARGV   given up at (epoch ms), queue, number, receipt, number, receipt, … (up to 1000 pairs)
-- Reply  for each job: acked, lease-lost (another receipt is the job's), or not-found (the job does not exist)
local q, leased, jobs, live, acked, acked_before = unpack(KEYS)
--@include now
--@include acknowledge
--@include leased_text
local reply = {}
for at = 3, #ARGV, 2 do
  local id, receipt = ARGV[at], ARGV[at + 1]
  if leased_text(id, receipt) then
    acknowledge(id, receipt)
    reply[#reply + 1] = 'acked'
  else
    --@include settled_before
    reply[#reply + 1] = (settled_before(id, receipt, 'ack'))
  end
end
return reply
