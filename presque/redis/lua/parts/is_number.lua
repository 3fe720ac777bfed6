-- Whether a text is the number of a job, as Redis and the scripts write it.
local function is_number(id)
  return #id <= 15 and id:find('^[1-9]%d*$') == 1
end
