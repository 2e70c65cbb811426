#!lua flags=allow-oom
-- Removes settled attempts from inflight, and adds retried ones to delayed.
--
-- KEYS    1 delayed  2 inflight  3 wake  4 settled
-- ARGV    1 worker id, then triples: members, verb, milliseconds to wait (retry). The members are one text, separated
--         by NUL: an argument for each member would cost the worker and Redis more than all that the script does.
-- RETURNS the number of members that were in flight for this worker
local delayed, inflight, wake, settled = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local worker, entries = ARGV[1], ARGV

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local waiting = false

local members, verbs = {}, {}
for i = 2, #entries, 3 do
  local verb, wait = entries[i + 1], tonumber(entries[i + 2])
  for member in string.gmatch(entries[i], '[^%z]+') do
    members[#members + 1] = member
    verbs[verb] = (verbs[verb] or 0) + 1
    if verb == 'retry' then
      redis.call('ZADD', delayed, now + wait, member)
      waiting = true
    end
  end
end

-- A worker that lost its task must not erase its successor's claim, so check the holder.
-- (The caller keeps the number of members below Lua's limit for unpack.)
local mine = {}
for i, holder in ipairs(redis.call('HMGET', inflight, unpack(members))) do
  if holder and string.sub(holder, 1, #worker + 1) == worker .. ' ' then mine[#mine + 1] = members[i] end
end
if #mine > 0 then redis.call('HDEL', inflight, unpack(mine)) end
for verb, count in pairs(verbs) do redis.call('HINCRBY', settled, verb, count) end

if waiting then redis.call('ZADD', wake, 0, '1') end
return #mine
