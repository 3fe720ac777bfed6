-- Takes up to `want` jobs for `length` ms, or for the queue's lease (statements, not a function). What it got is in parallel lists:
-- `ids`, `records`; and unless `mark` is -, `options` (a map or false) and `lives` (what `live` has, or false). `taken` is how many
-- there are. If there are any, this calls the script's `store(deadline, ids, records, mark, options, lives)`, which must leave
-- nothing when it fails but members of `leased`, which `unpop` removes. Records that the worker ('' if unnamed) was seen, and if
-- there was no job that the daemon ('' for none) waits.

--@include moved
--@include setting_defaults
local deadline = now + (length or tonumber(lease or setting_defaults.lease))
local taken, ids, records, mark = 0, {}, {}, '-'
local ranks, options, lives -- ranks: where they stood, false for `ready`
local popped, popped_ranks, done -- numbers, and where they stood, of which the first `done` were looked at
local dropped, has_died, is_cut = 0, false, false -- jobs that have expired, and holes; whether one died; whether it was too many
local is_done, why = true, nil

-- The usual case first: one job, without options, from `ready`.
local number = want == 1 and redis.call('ZCARD', front) == 0 and redis.call('LPOP', ready)
local record = number and redis.pcall('HGET', jobs, number)
if type(record) == 'string' and record:byte(14) == 45 then -- '-'
  ids[1], records[1] = number, record
else
  --@include pop
  ranks, options, lives = {}, {}, {}
  is_done, why = pcall(pop)
end
taken = #ids
if is_done and taken > 0 then
  is_done, why = pcall(store, deadline, ids, records, mark, options, lives)
end
if not is_done then
  --@include unpop
  unpop()
  error(why, 0)
end
if taken > 0 then
  --@include time_bucket
  local since, waits = records, {}
  if ranks then
    --@include ready_since
    since = ready_since(records, ranks)
  end
  out, waited = (out or 0) + taken, waited or 0
  for i = 1, taken do
    if since[i] then
      local wait = math.max(0, now - since[i]:sub(1, 13))
      local bucket = time_bucket(wait)
      waited, waits[bucket] = waited + wait, (waits[bucket] or 0) + 1
    end
  end
  redis.call('HSET', q, 'out', out, 'wait', waited) -- in one command, which costs little more than one of them
  for bucket, count in pairs(waits) do
    redis.call('HINCRBY', q, 'wait' .. bucket, count)
  end
  if not at or tonumber(at) > deadline then
    --@include visit_by
    visit_at(queue, deadline)
  end
else
  --@include wait
  wait(daemon)
end
if mark == 'x' then
  --@include waits_no_more
  for i, each in ipairs(options) do
    if each then
      waits_no_more(ids[i], each)
    end
  end
end
if dropped > 0 then
  --@include die
  --@include visit_by
  if has_died then
    bury(queue)
  end
  if is_cut then
    visit_at(queue, now)
  end
end
if moved > taken then -- there are more jobs than were requested, and the mover will not come for them again
  --@include wake
  wake(moved - taken)
end
if worker ~= '' then
  --@include count_worker
  count_worker(worker, worker_processed, taken)
end
