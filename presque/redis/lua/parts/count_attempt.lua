-- Counts a failed attempt, and records why. After the last one, or if it `is_final`, the job is dead and the function returns
-- nothing; else it returns the number of failed attempts and the map of `live`. The job must be in no state; `text` is what `live`
-- has of it, or its mark. A script that calls it must call `bury` once if a job died.

--@include die
--@include note_failure
--@include options_of
--@include read_live
--@include setting
local function count_attempt(id, text, why, is_final)
  local mark, _, map = read_live(text)
  local record = mark ~= '-' and redis.call('HGET', jobs, id)
  local options = record and options_of(record) or {}
  map.attempts, map.worker = (map.attempts or 0) + 1, nil
  note_failure(map, map.attempts, why)
  keep_live(id, live_text(mark, '', map))
  if not is_final and map.attempts < (options.limit or setting('max_attempts')) then
    return map.attempts, map
  end
  die(id, map.attempts, why)
end
