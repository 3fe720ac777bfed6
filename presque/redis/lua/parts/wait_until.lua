-- Delays a job that was taken until a time (epoch ms).

--@include padded
--@include visit_by
--@include waits_again
local function wait_until(queue, id, mark, at)
  if waits_again(queue, id, mark) then
    redis.call('ZADD', delayed, at, padded(id))
    visit_by(queue, at)
  end
end
