-- Counts leases that ran out, by ten minutes of the last hour: see `run_outs` in presque.redis.keys.
local TIMES, TIME, MOST = 6, 600000, 999999 -- how many times, how long each (ms); and so the text stays short

local function note_run_outs(count)
  local numbers = {}
  for number in (redis.call('HGET', q, 'run_outs') or ''):gmatch('%d+') do
    numbers[#numbers + 1] = tonumber(number)
  end
  local time = math.floor(now / TIME)
  local passed, by_time = time - (numbers[1] or time), { time }
  for i = 0, TIMES - 1 do
    local before = i >= passed and numbers[2 + i - passed] or 0
    by_time[2 + i] = math.min(MOST, before + (i == 0 and count or 0))
  end
  redis.call('HSET', q, 'run_outs', table.concat(by_time, ' '))
end
