-- Takes up to `want` jobs for `length` ms (statements, not a function). The script stores them, if there are
-- any, by `store(deadline, ids, records, mark, options, lives)`, and undoes that by `unstore(ids, lives)` if it fails. Records that the worker ('' if unnamed) was seen, and if there was no
-- job that the daemon ('' for none) waits. `taken` is how many there were.

--@include moved
--@include pop
--@include wake
local deadline = now + length
local function fill()
  pop(want)
  if #ids > 0 then
    store(deadline, ids, records, mark, options, lives)
  end
end
local is_done, why = pcall(fill)
if not is_done then
  --@include unpop
  unstore(ids, lives)
  unpop()
  error(why, 0)
end
local taken = #ids
if taken > 0 then
  redis.call('HINCRBY', q, 'out', taken)
  if mark == 'x' then
    --@include waits_no_more
    for i, each in ipairs(options) do
      if each then
        waits_no_more(ids[i], each)
      end
    end
  end
  if not at or tonumber(at) > deadline then
    --@include visit_by
    visit_at(queue, deadline)
  end
else
  --@include wait
  wait(daemon)
end
if has_died then
  --@include die
  bury(queue)
end
if dropped >= MOST_DROPPED then
  --@include visit_by
  visit_at(queue, now)
end
wake(moved - taken) -- there are more jobs than were requested, and the mover will not come for them again
if worker ~= '' then
  --@include count_worker
  count_worker(worker, worker_processed, taken)
end
