-- Reads or stores the answer to an insertion with this idempotency key: 'fingerprint first-number letter-for-each-job'.
-- `remembered` is the Redis key of the idempotency key; without one the fingerprint is empty.
local function answered_before(fingerprint)
  return fingerprint ~= '' and redis.call('GET', remembered)
end

local function remember(fingerprint, first, states, how_long)
  local answer = table.concat({ fingerprint, first, states }, ' ')
  if fingerprint ~= '' then
    redis.call('SET', remembered, answer, 'PX', how_long)
  end
  return { 'inserted', answer }
end
