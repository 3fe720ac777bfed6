-- What is sampled of the queue whose keys begin with `prefix`: {inserted, ended, failed, died, ready, delayed, leased, dead}, and the
-- age (s) of its oldest ready job. Nothing if it has no facts. This only reads.

--@include oldest_of
local function figures_of(prefix)
  local names = { 'n', 'base', 'delivered', 'acked', 'failed', 'died', 'gone' }
  local n, base, delivered, acked, failed, died, gone = unpack(redis.call('HMGET', prefix .. 'q', unpack(names)))
  if not n then
    return
  end
  local figures = { n - (base or 0), (delivered or 0) + (acked or 0), tonumber(failed or 0), tonumber(died or 0), 0, 0, 0, 0 }
  local all = redis.call('HLEN', prefix .. 'jobs')
  if all == 0 then
    return figures, 0
  end
  local came_due = redis.call('ZCOUNT', prefix .. 'delayed', '-inf', now)
  local waiting = redis.call('ZCARD', prefix .. 'front') + redis.call('ZCARD', prefix .. 'behind') + came_due
  figures[5] = waiting + redis.call('LLEN', prefix .. 'ready') - (gone or 0)
  figures[6] = redis.call('ZCARD', prefix .. 'delayed') - came_due
  figures[8] = redis.call('ZCARD', prefix .. 'dead')
  figures[7] = all - figures[5] - figures[6] - figures[8]
  return figures, figures[5] > 0 and oldest_of(prefix, came_due) or 0
end
