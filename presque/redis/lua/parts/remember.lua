-- What was answered before to an insertion with this idempotency key, and to remember what is answered now: 'fingerprint
-- first-number letter-for-each-job'. `remembered` is the key's own Redis key; an empty fingerprint is no idempotency key.
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
