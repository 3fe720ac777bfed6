-- What data model 2 has of jobs beside their records.

--@include is
--@include read_live
-- Of these jobs, lists in parallel, empty if no job of this queue has such a thing; and whether any `exist`.
local function old_jobs(ids)
  local found = {}
  local keys = {
    unique = old_uniq_of,
    limit = old_limits,
    attempts = old_attempts,
    failures = old_history,
    run_outs = old_run_outs,
    receipt = old_receipts,
    holder = old_holders,
  }
  found.exist = #ids > 0
    and redis.call('EXISTS', old_uniq_of, old_limits, old_attempts, old_history, old_run_outs, old_receipts, old_holders) > 0
  for name, key in pairs(keys) do
    found[name] = found.exist and is(key, 'hash') and redis.call('HMGET', key, unpack(ids)) or {}
  end
  return found
end

-- A count that was stored as a text; nothing if it is none.
local function whole(text)
  local count = tonumber(text or nil)
  return count and count >= 0 and count < 2 ^ 53 and count % 1 == 0 and count or nil
end

-- The options of the job at `i`; nothing if it has none.
local function old_options(old, i)
  local limit = whole(old.limit[i])
  if old.unique[i] or limit then
    return { unique = old.unique[i] or nil, limit = limit }
  end
end

-- Whether the job at `i` has failed before.
local function has_failed(old, i)
  return (old.attempts[i] or old.failures[i] or old.run_outs[i]) and true or false
end

-- The worker that holds the job at `i`, nothing if it is not known.
local function old_holder(old, i)
  local receipt, worker = (old.holder[i] or ''):match('^(%S+) (.+)$')
  return receipt == old.receipt[i] and worker or nil
end

-- The last failures of the job at `i`, nothing if there are none that data model 3 can have: see `live` in presque.redis.keys.
local function old_failures(old, i)
  if not old.failures[i] then
    return nil
  end
  local was_read, failures = pcall(cmsgpack.unpack, old.failures[i])
  if not was_read or type(failures) ~= 'table' or #failures == 0 then
    return nil
  end
  for _, each in ipairs(failures) do
    if type(each) ~= 'table' or #each ~= 3 then
      return nil
    end
    local attempt, at, why = unpack(each)
    if type(attempt) ~= 'number' or type(at) ~= 'number' or type(why) ~= 'string' then
      return nil
    end
  end
  return failures
end

-- Writes what `live` has of the job at `i`, which is leased under that receipt, or not leased if it is empty.
local function convert_live(old, i, id, receipt)
  local map = { attempts = whole(old.attempts[i]), run_outs = whole(old.run_outs[i]) }
  map.failures = old_failures(old, i)
  if receipt ~= '' then
    map.worker = old_holder(old, i)
  end
  keep_live(id, live_text(old_options(old, i) and 'x' or '-', receipt, map))
end
