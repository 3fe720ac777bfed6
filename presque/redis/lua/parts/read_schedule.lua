-- A schedule as `schedules` has it, by its member "<queue>/<name>", or nothing if there is none; and `write_schedule`, which
-- stores one. A schedule has `state`, a map; `definition`, as MessagePack; its job as `specified` takes it, in `due_at`,
-- `options` and `payload`. See `schedules` in presque.redis.keys.
local function read_schedule(member)
  local value = redis.call('HGET', schedules, member)
  if not value then
    return
  end
  local state, definition, options, due_at, at = value:match('^(%d+) (%d+) (%d+) (%+?%d*)\n()')
  local ends = at + state + definition + options
  return {
    state = cmsgpack.unpack(value:sub(at, at + state - 1)),
    definition = value:sub(at + state, at + state + definition - 1),
    due_at = due_at,
    options = value:sub(ends - options, ends - 1),
    payload = value:sub(ends),
  }
end

local function write_schedule(member, schedule)
  local state, definition, options = cmsgpack.pack(schedule.state), schedule.definition, schedule.options
  local head = string.format('%d %d %d %s\n', #state, #definition, #options, schedule.due_at)
  redis.call('HSET', schedules, member, head .. state .. definition .. options .. schedule.payload)
end
