-- Writes a minute into a history: see `history` in presque.redis.keys. `passed` is what was counted since the last sample, {inserted,
-- ended, failed, died}; `figures` are these since the beginning, and after them {ready, delayed, leased, dead}.
local MINUTES, TENS = 60, 144

local function note_sample(key, minute, passed, figures, oldest)
  local ten = math.floor(minute / 10)
  local place = MINUTES + ten % TENS
  local row, of_ten = { minute }, { ten }
  local before = redis.call('HGET', key, place)
  before = before and cmsgpack.unpack(before)
  for i = 1, 4 do
    row[1 + i] = passed[i]
    of_ten[1 + i] = passed[i] + (before and before[1] == ten and before[1 + i] or 0)
  end
  for i = 5, 8 do
    row[1 + i], of_ten[1 + i] = figures[i], figures[i]
  end
  row[10], of_ten[10] = oldest, oldest
  local last = cmsgpack.pack({ minute, unpack(figures) })
  redis.call('HSET', key, minute % MINUTES, cmsgpack.pack(row), place, cmsgpack.pack(of_ten), 'last', last)
end
