-- Puts taken jobs back, before all others of their priority. `marks` has the mark of each, or is one for all. Returns how many:
-- those that were deleted meanwhile do not come back.

--@include rank
--@include waits_again
local function to_front(queue, ids, marks)
  local line, count = {}, 0
  for i, id in ipairs(ids) do
    local priority = waits_again(queue, id, type(marks) == 'table' and marks[i] or marks)
    if priority then
      line_up(line, id, priority, tonumber(id))
      count = count + 1
    end
  end
  stand(line)
  return count
end
