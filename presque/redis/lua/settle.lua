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
--@include note_settlement
--@include is_under
local queue, reply = ARGV[2], {}
local ready_again, has_died = 0, false
local settle_otherwise -- defined at the first one that is no ack

for at = 3, #ARGV, 6 do
  local id, receipt, outcome = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local text = redis.call('HGET', live, id)
  local ends_at = text and is_under(text, receipt) and redis.call('ZSCORE', leased, id)
  local became, due_at, due_in = 'acked', 0, 0
  if not ends_at or tonumber(ends_at) <= now then
    --@include settled_before
    became, due_at, due_in = settled_before(id, receipt, outcome)
  elseif outcome == 'ack' then
    redis.call('ZREM', leased, id)
    redis.call('HDEL', jobs, id)
    redis.call('HDEL', live, id)
    redis.call('HINCRBY', q, 'acked', 1)
    note_settlement(id, receipt)
  else
    if not settle_otherwise then
      --@include check_keys
      --@include end_attempt
      check_keys()
      settle_otherwise = end_attempt
    end
    local is_ready
    became, due_at, due_in, is_ready = settle_otherwise(queue, id, receipt, text, outcome, unpack(ARGV, at + 3, at + 5))
    has_died = has_died or became == 'dead'
    ready_again = ready_again + (is_ready and 1 or 0)
  end
  reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = became, due_at, due_in
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
