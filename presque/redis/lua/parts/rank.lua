-- `front` and `delayed` hold numbers as 16 digits, so that jobs of one rank stand in the order of their insertion.
local function padded(id)
  return string.format('%016d', id)
end
local function plain(member)
  return string.format('%d', member)
end
