-- A record: see `jobs` in presque.redis.keys. `time` is its first 13 digits; `is_in_ready` whether the job stands in `ready`.
local function make_record(time, is_in_ready, options, payload)
  if not options or not next(options) then
    return time .. (is_in_ready and '-' or 'd') .. payload
  end
  local packed = cmsgpack.pack(options)
  local length = string.char(math.floor(#packed / 256), #packed % 256)
  return time .. (is_in_ready and 'x' or 'X') .. length .. packed .. payload
end
