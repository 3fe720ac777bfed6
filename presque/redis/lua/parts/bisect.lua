-- The first index from `low` to `high` - 1 of which `is_before(index)` is false, `high` if it is true of all: they must be sorted so.
local function bisect(low, high, is_before)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_before(middle) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end
