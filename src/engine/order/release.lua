#!lua flags=allow-oom
-- Gives claimed members back: moves them to ready or to delayed, or drops them.
--
-- KEYS    1 ready  2 delayed  3 inflight  4 wake
-- ARGV    1 worker id, then triples: member, score in ready, milliseconds to wait (0: none, -1: drop it)
-- RETURNS the number of members that were in flight for this worker
local ready, delayed, inflight, wake = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local worker, entries = ARGV[1], ARGV

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local mine, runnable = 0, false

for i = 2, #entries, 3 do
  local member, score, wait = entries[i], entries[i + 1], tonumber(entries[i + 2])
  local holder = redis.call('HGET', inflight, member)
  if holder and string.sub(holder, 1, #worker + 1) == worker .. ' ' then
    redis.call('HDEL', inflight, member)
    mine = mine + 1
    holder = false
  end
  -- If another worker has claimed the member meanwhile, leave it alone.
  if not holder and wait >= 0 then
    if wait > 0 then
      redis.call('ZADD', delayed, now + wait, member)
    else
      redis.call('ZADD', ready, score, member)
    end
    runnable = true
  end
end

if runnable then redis.call('ZADD', wake, 0, '1') end
return mine
