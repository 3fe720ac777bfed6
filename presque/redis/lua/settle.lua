-- Settles leased jobs, each by its own outcome: ack ends it; nack counts the attempt as failed, and the job waits for its next
-- try or is dead; final is a nack after which it is dead; release puts it back uncounted. A receipt that is no longer the job's
-- settles nothing; one that settled the job before gets the same answer again.
-- ARGV   given up at (epoch ms), queue, then for each job: number, receipt, outcome, delay (ms, or '' for the default), error,
--        chance (0 to 1, for the back-off of a nack, else '')
-- Reply  for each job three: acked 0 0, released 0 0, delayed <due at, epoch ms> <in how long, ms>, dead 0 0, lease-lost 0 0
--        (another receipt is the job's), or not-found 0 0 (the job does not exist): see presque.jobs.outcomes
local q, due, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, expiring, acked, acked_before,
  waiting = unpack(KEYS)
--@include now
--@include acknowledge
--@include check_keys
--@include end_attempt
--@include leased_text
--@include settled_before
local queue, reply, ready_again, released, has_died = ARGV[2], {}, 0, 0, false
check_keys()
for at = 3, #ARGV, 6 do
  local id, receipt, outcome = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local text = leased_text(id, receipt)
  local became, due_at, due_in, is_ready = 'acked', 0, 0, false
  if not text then
    became, due_at, due_in = settled_before(id, receipt, outcome)
  elseif outcome == 'ack' then
    acknowledge({ id }, { id, receipt })
  else
    became, due_at, due_in, is_ready = end_attempt(queue, id, receipt, text, outcome, unpack(ARGV, at + 3, at + 5))
    released = released + (became == 'released' and 1 or 0)
  end
  has_died = has_died or became == 'dead'
  ready_again = ready_again + (is_ready and 1 or 0)
  reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = became, due_at, due_in
end
if released > 0 then
  redis.call('HINCRBY', q, 'released', released)
end
if has_died then
  --@include die
  bury(queue)
end
if ready_again > 0 then
  --@include wake
  wake(ready_again)
end
return reply
