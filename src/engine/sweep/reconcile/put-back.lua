#!lua flags=allow-oom
-- Ends claims whose tasks were not started or are over, whichever worker holds them, unless the claim has changed.
--
-- KEYS    1 ready  2 delayed  3 inflight  4 wake
-- ARGV    quadruples: member, score in ready, milliseconds to wait (0: none, -1: drop it), value of the claim
-- RETURNS the number of claims that were ended
local ready, delayed, inflight, wake = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local entries = ARGV

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ended, runnable = 0, false

for i = 1, #entries, 4 do
  local member, score, wait, claim = entries[i], entries[i + 1], tonumber(entries[i + 2]), entries[i + 3]
  if redis.call('HGET', inflight, member) == claim then
    redis.call('HDEL', inflight, member)
    ended = ended + 1
    if wait > 0 then
      redis.call('ZADD', delayed, now + wait, member)
    elseif wait == 0 then
      redis.call('ZADD', ready, score, member)
    end
    runnable = runnable or wait >= 0
  end
end

if runnable then redis.call('ZADD', wake, 0, '1') end
return ended
