-- Acknowledges leased jobs: settle.lua for this outcome alone.
-- ARGV   given up at (epoch ms), queue, number, receipt, number, receipt, … (up to 1000 pairs)
-- Reply  for each job: acked, lease-lost (another receipt is the job's), or not-found (the job does not exist)
local q, leased, jobs, live, acked, acked_before = unpack(KEYS)
--@include now
--@include acknowledge
--@include is_under
local asked, ids, notes, reply, seen = {}, {}, {}, {}, {}
for at = 3, #ARGV, 2 do
  asked[#asked + 1] = ARGV[at]
end
local texts, ends_at = redis.call('HMGET', live, unpack(asked)), redis.call('ZMSCORE', leased, unpack(asked))
for i, id in ipairs(asked) do
  local receipt = ARGV[2 * i + 2]
  if is_under(texts[i], receipt) and tonumber(ends_at[i] or 0) > now then
    if not seen[id] then -- once, however often it is asked
      ids[#ids + 1] = id
      notes[#notes + 1], notes[#notes + 2] = id, receipt
      seen[id] = true
    end
    reply[i] = 'acked'
  else
    --@include settled_before
    reply[i] = (settled_before(id, receipt, 'ack'))
  end
end
if #ids > 0 then
  acknowledge(ids, notes)
end
return reply
