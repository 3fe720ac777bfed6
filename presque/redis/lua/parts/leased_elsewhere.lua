-- What to reply instead of leasing jobs with an idempotency key: see reserve.lua. Nothing if none were leased with it.

--@include reserved_before
local function leased_elsewhere(queue, receipt, kept_for)
  for i = 8, #ARGV do
    local other = i == 8 and queue or ARGV[i]
    local said = redis.call('HGET', remembered, other)
    if said and said:match('^%+?([^. ]+)') == receipt then
      return { now, now } -- another try of this request got jobs already
    elseif said and other ~= queue then
      return { 'elsewhere', other }
    end
  end
  return reserved_before(queue, kept_for)
end
