-- Converts a part of a queue of data model 2 (see parts/spend.lua), while the store's record says that this is under way. A call
-- goes on where the last one ended, whoever made it. Its phases, in this order: read (`ready`, which stays as it is but for jobs
-- that were taken before), empty (those leave it), kept (who keeps which job), places (the jobs that are elsewhere), lost, holes and
-- scan (jobs that are nowhere), and end (the facts of the queue).
-- ARGV   given up at (epoch ms), queue, cursor from the last reply ('0' on a new connection)
-- Reply  {how many jobs it converted, cursor, 1 if there is more to do, else 0}
local store_record, queues, due, q, ready, front, behind, delayed, leased, dead, held, jobs, live, uniq, acked, acked_before,
  kept, conversion, old_receipts, old_uniq_of, old_attempts, old_limits, old_history, old_run_outs, old_holders, old_settings,
  old_acked_by, old_front, old_delayed, old_leased, old_dead, old_kept, old_last_id, old_paused, old_processed,
  old_failed = unpack(KEYS)
--@include now
--@include begin_conversion
--@include convert_places
--@include empty_ready
--@include end_conversion
--@include find_lost
--@include name_keepers
--@include read_ready
local queue = ARGV[2]
if redis.call('HEXISTS', store_record, 'converting') == 0 or redis.call('EXISTS', q) == 1 then
  return { 0, '0', 0 }
end
if redis.call('EXISTS', conversion) == 0 then
  begin_conversion()
end
-- unread: how many numbers of `ready` are still to be read, in `holes` how many were; following: the number that was read last; stay:
-- jobs that stay in `ready`; gone: holes there; placed: jobs that were put elsewhere, the highest number of them, and how many of
-- them were moved to the front; spoilt: 1 if another program removed or replaced a key.
local FIGURES = { unread = 0, following = 2 ^ 53, stay = 0, gone = 0, placed = 0, highest = 0, moved = 0, spoilt = 0 }
local state = { phase = redis.call('HGET', conversion, 'phase') }
for name, first in pairs(FIGURES) do
  state[name] = tonumber(redis.call('HGET', conversion, name) or first)
end
redis.call('HSET', conversion, 'phase', state.phase) -- first: a full Redis refuses it, and nothing has changed
local before = state.placed + state.stay
read_ready(state)
empty_ready(state)
name_keepers(state)
convert_places(state)
local cursor = find_lost(state, ARGV[3])
if state.phase == 'end' then
  end_conversion(queue, state)
  return { state.placed + state.stay - before, '0', 0 }
end
redis.call('HSET', conversion, 'phase', state.phase)
for name in pairs(FIGURES) do
  redis.call('HSET', conversion, name, string.format('%.0f', state[name]))
end
return { state.placed + state.stay - before, cursor, 1 }
