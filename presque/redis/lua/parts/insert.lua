-- Inserts `count` jobs, all or nothing. `spec(i)`, for i from 1, returns for each: when it is due (epoch ms, '' at once), its
-- options (a map or nothing: see `jobs` in presque.redis.keys) and its payload. Returns the number of the first, which the others
-- follow, and a letter for each: r(eady) or d(elayed). Or, if nothing was inserted, {'duplicate', the job that has the uniq key
-- already, or 0 if it is one of these}, {'full'}, or {'closed'} if the queue accepts none.

--@include check_keys
--@include in_bulk
--@include make_record
--@include next_numbers
--@include padded
--@include rank
--@include visit_by
--@include wake
local function duplicate(specs)
  local seen = {}
  for _, spec in ipairs(specs) do
    local key = spec.options and spec.options.unique
    if key then
      local existing = redis.call('HGET', uniq, key) or seen[key]
      if existing then
        return { 'duplicate', existing }
      end
      seen[key] = 0
    end
  end
end

-- Adds one job to what is to be written. Returns its letter.
local function add_job(new, id, spec)
  local options, priority = spec.options or {}, spec.options and spec.options.priority or DEFAULT_PRIORITY
  local is_in_ready = spec.due_at == '' and priority == DEFAULT_PRIORITY
  local function add(key, ...)
    local values = new[key] or {}
    for _, value in ipairs({ ... }) do
      values[#values + 1] = value
    end
    new[key] = values
  end
  add(jobs, id, make_record(string.format('%013d', now), is_in_ready, spec.options, spec.payload))
  if options.unique then
    add(uniq, options.unique, id)
  end
  if options.expires then
    add(expiring, options.expires, id)
    new.visit = math.min(new.visit, options.expires)
  end
  new.has_priorities = new.has_priorities or priority ~= DEFAULT_PRIORITY
  if is_in_ready then
    add(ready, id)
  elseif spec.due_at ~= '' and tonumber(spec.due_at) > now then
    add(delayed, spec.due_at, padded(id))
    new.visit = math.min(new.visit, tonumber(spec.due_at))
    return 'd'
  else
    local place = spec.due_at == '' and WAITING + id or CAME_DUE + spec.due_at
    add(priority < DEFAULT_PRIORITY and behind or front, string.format('%.0f', rank(priority, place)), padded(id))
  end
  return 'r'
end

local function insert(queue, count, spec)
  local specs, new, letters, at_once = {}, { visit = math.huge }, {}, 0
  for i = 1, count do
    local due_at, options, payload = spec(i)
    specs[i] = { due_at = due_at, options = options, payload = payload }
  end
  check_keys()
  local first = duplicate(specs) or next_numbers(queue, count)
  if type(first) == 'table' then
    return first
  end
  for i, each in ipairs(specs) do
    letters[i] = add_job(new, first + i - 1, each)
    at_once = at_once + (letters[i] == 'r' and 1 or 0)
  end
  if new.has_priorities then
    redis.call('HSET', q, 'classes', 1)
  end
  for _, key in ipairs({ jobs, uniq }) do
    in_bulk('HSET', key, new[key] or {})
  end
  for _, key in ipairs({ expiring, delayed, front, behind }) do
    in_bulk('ZADD', key, new[key] or {})
  end
  in_bulk('RPUSH', ready, new[ready] or {})
  if new.visit < math.huge then
    visit_by(queue, new.visit)
  end
  wake(at_once)
  return first, table.concat(letters)
end
