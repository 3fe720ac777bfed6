-- Whether the script may read one more record: about 8 MiB of them, so that none takes long.
local read_so_far = 0

local function may_read(id)
  local may = read_so_far < 8388608
  read_so_far = read_so_far + redis.call('HSTRLEN', jobs, id)
  return may
end
