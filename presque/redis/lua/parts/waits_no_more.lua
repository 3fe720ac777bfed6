-- Removes what only a waiting job has: the entries of its uniq key and its expiry.
local function waits_no_more(id, options)
  if options.unique and redis.call('HGET', uniq, options.unique) == id then
    redis.call('HDEL', uniq, options.unique)
  end
  if options.expires then
    redis.call('ZREM', expiring, id)
  end
end
