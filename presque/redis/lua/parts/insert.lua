-- Inserts `count` jobs, all or nothing. `spec(i)`, for i from 1, returns for each: when it is due (epoch ms, '' at once), its
-- options (a map or nothing: see `jobs` in presque.redis.keys) and its payload. Returns the number of the first, which the others
-- follow, and a letter for each: r(eady) or d(elayed). Or, if nothing was inserted, {'duplicate', the job that has the uniq key
-- already, or 0 if it is one of these}, {'full'}, {'large'}, {'many'}, or {'closed'}: see `next_numbers`.

--@include in_bulk
--@include make_record
--@include next_numbers
--@include padded
--@include rank
--@include visit_by
--@include wake
local specs = {} -- of each job: when it is due, options, payload
local values = {} -- what is to be written: key -> values for its command
local has_priorities, visit = false, math.huge

-- The refusal if a uniq key is taken.
local function duplicate()
  local seen = {}
  for _, spec in ipairs(specs) do
    local key = spec[2].unique
    local existing = key and (redis.call('HGET', uniq, key) or seen[key])
    if existing then
      return { 'duplicate', existing }
    elseif key then
      seen[key] = 0
    end
  end
end

local function to_write(key, field, value)
  local those = values[key] or {}
  those[#those + 1], those[#those + 2] = field, value
  values[key] = those
end

-- Adds one job to what is to be written. Returns its letter.
local function add_job(id, due_at, options, payload)
  local priority = options.priority or DEFAULT_PRIORITY
  local is_in_ready = due_at == '' and priority == DEFAULT_PRIORITY
  to_write(jobs, id, make_record(string.format('%013d', now), is_in_ready, options, payload))
  if options.unique then
    to_write(uniq, options.unique, id)
  end
  if options.expires then
    to_write(expiring, options.expires, id)
    visit = math.min(visit, options.expires)
  end
  has_priorities = has_priorities or priority ~= DEFAULT_PRIORITY
  if is_in_ready then
    to_write(ready, id)
  elseif due_at ~= '' and tonumber(due_at) > now then
    to_write(delayed, due_at, padded(id))
    visit = math.min(visit, tonumber(due_at))
    return 'd'
  else
    local place = due_at == '' and WAITING + id or CAME_DUE + due_at
    to_write(priority < DEFAULT_PRIORITY and behind or front, rank(priority, place), padded(id))
  end
  return 'r'
end

-- Fails, before anything is written, if a key that is written to has a wrong type.
local function check_types()
  for key in pairs(values) do
    local command = key == ready and 'LLEN' or (key == jobs or key == uniq) and 'HLEN' or 'ZCARD'
    redis.call(command, key)
  end
  redis.call('ZCARD', due)
end

local function write(queue)
  if has_priorities then
    redis.call('HSET', q, 'classes', 1)
  end
  for key, those in pairs(values) do
    in_bulk(key == ready and 'RPUSH' or (key == jobs or key == uniq) and 'HSET' or 'ZADD', key, those)
  end
  if visit < math.huge then
    visit_by(queue, visit)
  end
end

local function insert(queue, count, spec)
  for i = 1, count do
    local due_at, options, payload = spec(i)
    specs[i] = { due_at, options or {}, payload }
  end
  local first = next_numbers(queue, count, duplicate)
  if type(first) == 'table' then
    return first
  end
  local letters, at_once = {}, 0
  for i, each in ipairs(specs) do
    letters[i] = add_job(first + i - 1, unpack(each))
    at_once = at_once + (letters[i] == 'r' and 1 or 0)
  end
  local is_sound, why = pcall(check_types)
  if not is_sound then
    redis.call('HINCRBY', q, 'n', -count)
    error(why, 0)
  end
  write(queue)
  wake(at_once)
  return first, table.concat(letters)
end
