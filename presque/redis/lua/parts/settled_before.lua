-- The result of a settlement that cannot be made, as in settle.lua's reply: that of the same settlement, if it was made before,
-- else lease-lost or not-found.
local function noted(member)
  return redis.call('HGET', acked, member) or redis.call('HGET', acked_before, member)
end

local function settled_before(id, receipt, outcome)
  local by = noted(id)
  if by == receipt and outcome == 'ack' then
    return 'acked', 0, 0
  end
  local said = outcome ~= 'ack' and noted(id .. ' ' .. receipt)
  if said then
    local word, due_at, due_in = said:match('(%a+) (%d+) (%d+)')
    if (word == 'release') == (outcome == 'release') then -- the others are of nacks
      return word == 'release' and 'released' or word, tonumber(due_at), tonumber(due_in)
    end
  end
  return (by or redis.call('HEXISTS', jobs, id) == 1) and 'lease-lost' or 'not-found', 0, 0
end
