-- Calls `visit(id, record, place, at)` for jobs of a state that match (see parts/matches.lua), from a cursor on (see parts/page.lua),
-- with what `locate` would return: for up to `count` of them, out of about 1,000 that this reads, or 8 MiB of records and of what
-- `visit` counts, by returning a number of bytes. Returns the cursor for what follows, '' if that was all.

--@include belongs_in_ready
--@include locate
--@include matches
--@include page
local LARGEST_PAGE = 8388608 -- bytes

-- Where the job is, if it is in that state at all.
local function place_in(id, record, place, score)
  if place == 'ready' then
    return belongs_in_ready(record) and place, score
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
