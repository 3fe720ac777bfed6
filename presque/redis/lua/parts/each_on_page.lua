-- Calls `visit(id, record, place, at)` for jobs of a state that match (see parts/matches.lua), from a cursor on (see parts/page.lua):
-- up to `count` of them, out of about 1,000 that this looks at, and of about 8 MiB, together with the bytes that `visit` returns.
-- Returns the cursor for what follows, '' if that was all.

--@include locate
--@include matches
--@include page
local LARGEST_PAGE = 8388608

-- Where the job is, if it is in that state at all.
local function place_in(id, record, place, score)
  if place == 'ready' then
    local mark = record:byte(14)
    return (mark == 45 or mark == 120) and place, score -- '-', 'x'; the others stand elsewhere
  elseif place == 'leased' then
    local found, at = locate(id, record)
    return (found == 'leased' or found == 'held') and found, at
  end
  return place, score
end

local function each_on_page(state, cursor, count, wanted, older_than, visit)
  local most = 1001
  if wanted == '' and older_than == '' then -- one more tells whether there is more
    most = math.min(most, count + 1 + (redis.call('HGET', q, 'gone') or 0))
  end
  local found, has_more = page(state, cursor, most)
  local visited, bytes = 0, 0
  for i, each in ipairs(found) do
    local id, score = each[1], each[2]
    local record = redis.call('HGET', jobs, id)
    local place, at = false, nil
    if record then
      place, at = place_in(id, record, each[3], score)
    end
    if place and matches(id, record, wanted, older_than) then
      bytes = bytes + (visit(id, record, place, tonumber(at)) or 0)
      visited = visited + 1
    end
    bytes = bytes + #(record or '')
    if visited == count or bytes >= LARGEST_PAGE then
      return (i < #found or has_more) and score .. ' ' .. id or ''
    end
  end
  return has_more and #found > 0 and found[#found][2] .. ' ' .. found[#found][1] or ''
end
