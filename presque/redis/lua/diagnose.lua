-- Reads what decides whether the jobs of a queue run.
-- ARGV   given up at (epoch ms), queue
-- Reply  {<see parts/counts.lua>, since when nobody has asked: see parts/unasked.lua, now (epoch ms), `run_outs` or '', the delayed
--        job that is due next, the leased one whose lease ends next, the one that died last}, each of the last three: {its time
--        (epoch ms), what `live` has of it or ''}, or {} if there is none
local q, ready, front, behind, delayed, leased, dead, held, jobs, live = unpack(KEYS)
--@include now
--@include counts
--@include padded
--@include unasked
local function first_of(key, command, from, ...)
  local member, at = unpack(redis.call(command, key, from, ...))
  if not member then
    return {}
  end
  return { string.format('%.0f', at), redis.call('HGET', live, plain(member)) or '' }
end
return {
  counts(),
  unasked(math.huge),
  now,
  redis.call('HGET', q, 'run_outs') or '',
  first_of(delayed, 'ZRANGEBYSCORE', '(' .. string.format('%d', now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1),
  first_of(leased, 'ZRANGE', 0, 0, 'WITHSCORES'),
  first_of(dead, 'ZREVRANGE', 0, 0, 'WITHSCORES'),
}
