-- A job's number as `front` and `delayed` hold it, in 16 digits, so that jobs of equal rank are in the order of insertion;
-- and `plain`, which converts back.
local function padded(id)
  return string.format('%016d', id)
end
local function plain(member)
  return string.format('%d', member)
end
