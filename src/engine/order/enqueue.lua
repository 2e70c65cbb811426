#!lua
-- Adds tasks to ready, or to delayed if they have to wait.
-- A member that is in flight is not changed: the end of its claim decides where it goes.
-- The first line makes Redis refuse the whole script at the memory limit. Without it, Redis
-- would refuse only a write that comes before any other.
--
-- KEYS    1 ready  2 delayed  3 inflight  4 wake
-- ARGV    triples: member, score in ready, milliseconds to wait (0: none)
-- RETURNS the number of members that were not there before
local ready, delayed, inflight, wake = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local entries = ARGV

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local added, runnable = 0, false

for i = 1, #entries, 3 do
  local member, score, wait = entries[i], entries[i + 1], tonumber(entries[i + 2])
  if redis.call('HEXISTS', inflight, member) == 0 then
    if wait > 0 then
      redis.call('ZREM', ready, member)
      added = added + redis.call('ZADD', delayed, now + wait, member)
    else
      redis.call('ZREM', delayed, member)
      added = added + redis.call('ZADD', ready, score, member)
    end
    runnable = true
  end
end

-- Wake a blocked worker for a delayed task too, because the worker has to wait only until that task is due.
if runnable then redis.call('ZADD', wake, 0, '1') end
return added
