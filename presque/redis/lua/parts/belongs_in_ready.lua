-- Whether a record (or false) says that its job stands in `ready`, or did before it was taken: its mark is - or x.
local function belongs_in_ready(record)
  local mark = record and record:byte(14)
  return mark == 45 or mark == 120
end
