-- Records of data model 2 as data model 3 has them.

--@include make_record
-- Whether a record says that the conversion has put its job elsewhere than in `ready`; and whether it may stay there as it is. A
-- record of another program does not begin with a time, and no byte of it is a mark.
local function is_elsewhere(record)
  return record:find('^%d%d%d%d%d%d%d%d%d%d%d%d%d[dX]') == 1
end

local function may_stay(record)
  return record:find('^%d%d%d%d%d%d%d%d%d%d%d%d%d[-x]') == 1
end

-- The record of such a job. All that another program wrote is its payload.
local function rewritten(record, is_in_ready, options)
  if not record:find('^%d%d%d%d%d%d%d%d%d%d%d%d%d.') then
    return make_record(string.format('%013d', now), is_in_ready, options, record)
  elseif record:byte(14) == 120 and not is_in_ready then -- 'x': it stood in `ready` twice, and was rewritten for the other place
    return record:sub(1, 13) .. 'X' .. record:sub(15)
  elseif not options and not is_in_ready then
    return (record:gsub('^(.............).', '%1d'))
  end
  return make_record(record:sub(1, 13), is_in_ready, options, record:sub(15))
end
