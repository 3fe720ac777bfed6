-- Lines a dead job up as one that has come due now, with no attempts counted: see `stand`.

--@include read_live
--@include rank
--@include waits_again
local function revive(queue, id, line)
  redis.call('ZREM', dead, id)
  local text = redis.call('HGET', live, id)
  if text then
    local mark, receipt, map = read_live(text)
    map.attempts, map.run_outs = nil, nil
    keep_live(id, live_text(mark, receipt, map))
  end
  local priority = waits_again(queue, id, 'x')
  if priority then
    line_up(line, id, priority, CAME_DUE + now)
  end
end
