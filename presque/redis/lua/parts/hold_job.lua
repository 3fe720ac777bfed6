-- Adds a job of data model 2 that is held by a take to the others of that take: `holds` has them by receipt, deadline and worker.

--@include old_jobs
local function hold_job(holds, old, i, id, deadline)
  local receipt = old.receipt[i]
  local worker = receipt:byte() == 107 and (old_holder(old, i) or '') -- 'k'
  local name = table.concat({ receipt, deadline, worker or '' }, ' ')
  local under = holds[name] or { receipt = receipt, worker = worker, deadline = deadline, mark = '-', ids = {} }
  convert_live(old, i, id, '')
  if old_options(old, i) or has_failed(old, i) then
    under.mark = 'x'
  end
  under.ids[#under.ids + 1] = id
  holds[name] = under
end

-- Stores these takes, as `held` and `kept` have them.
local function store_holds(holds)
  for _, under in pairs(holds) do
    local receipt = under.receipt
    local member = receipt:sub(1, 1) .. under.mark .. receipt:sub(2) .. ' ' .. table.concat(under.ids, ' ')
    if under.worker then
      member = member .. '\n' .. under.worker
      redis.call('HSET', kept, under.worker, (redis.call('HGET', kept, under.worker) or '') .. member .. '\0')
    end
    redis.call('ZADD', held, under.deadline, member)
  end
end
