-- A job's number as `front` and `delayed` hold it, in 16 digits, so that jobs of one rank stand in the order of their insertion;
-- and `plain`, the number again.
local function padded(id)
  return string.format('%016d', id)
end
local function plain(member)
  return string.format('%d', member)
end
