-- Whether the script may work on one more job: on about 8 MiB of records and of what `live` has, so that none takes long.
local read_so_far = 0

local function may_read(id)
  local may = read_so_far < 8388608
  read_so_far = read_so_far + redis.call('HSTRLEN', jobs, id) + 3 * redis.call('HSTRLEN', live, id) -- which is written anew
  return may
end
