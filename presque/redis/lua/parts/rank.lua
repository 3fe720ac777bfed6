-- The order in which a queue hands out its jobs. Those of the default priority that were never taken stand in the list `ready`;
-- the others have a rank, and stand in `front`, or with a priority below the default in `behind`. Rank = (9 - priority) * 2^49
-- + place. The place of a job that was put back is its number, of one that has come due 2^47 + its due time (epoch ms), and of
-- one that waits with a priority of its own 2^48 + its number.

--@include in_bulk
--@include padded
local DEFAULT_PRIORITY, CLASS, CAME_DUE, WAITING = 5, 2 ^ 49, 2 ^ 47, 2 ^ 48

local function rank(priority, place)
  return (9 - priority) * CLASS + place
end

-- Adds a job to those that `stand` puts into their places.
local function line_up(line, id, priority, place)
  local into = priority < DEFAULT_PRIORITY and 'behind' or 'front'
  local ranked = line[into] or {}
  ranked[#ranked + 1], ranked[#ranked + 2] = rank(priority, place), padded(id)
  line[into] = ranked
end

local function stand(line)
  in_bulk('ZADD', front, line.front or {})
  in_bulk('ZADD', behind, line.behind or {})
end
