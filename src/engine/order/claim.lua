#!lua flags=allow-oom
-- Promotes delayed members that are due, then hands the smallest members of
-- ready to a worker and notes them as in flight.
--
-- KEYS    1 ready  2 delayed  3 inflight  4 wake  5 settings
-- ARGV    1 worker id  2 most members to hand out  3 most members to promote
-- RETURNS {state, wait, members}: state is 'unknown' (no settings: load them first), 'paused' or 'open';
--         wait is the time until the next delayed member is due, in milliseconds, or -1 if nothing is delayed;
--         members is one text, separated by NUL, which costs the worker and Redis less than a reply of many parts
local ready, delayed, inflight, wake, settings = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local worker, most, most_promoted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local paused = redis.call('HGET', settings, 'paused')
if not paused then return { 'unknown', -1, '' } end
if paused == '1' then return { 'paused', -1, '' } end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Computes the same as scoreOf() in core/priority.ts: priority band + place. The
-- place is in the member, or otherwise the milliseconds of the id.
local function score_of(member)
  local place = string.match(member, '^%d:[%x-]+:(%d+)$')
    or tonumber(string.sub(member, 3, 10) .. string.sub(member, 12, 15), 16)
  return tonumber(string.sub(member, 1, 1)) * 4398046511104 + tonumber(place)
end

local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, most_promoted)
for _, member in ipairs(due) do
  redis.call('ZADD', ready, string.format('%.0f', score_of(member)), member)
  redis.call('ZREM', delayed, member)
end

local wait = -1
local popped = most > 0 and redis.call('ZPOPMIN', ready, most) or {}
local claim, noted, members = worker .. ' ' .. string.format('%.0f', now), {}, {}
for i = 1, #popped, 2 do
  noted[#noted + 1] = popped[i]
  noted[#noted + 1] = claim
  members[#members + 1] = popped[i]
end
if #noted > 0 then redis.call('HSET', inflight, unpack(noted)) end

local next_due = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
if next_due then wait = math.max(0, next_due - now) end

-- Work is left, so wake the next blocked worker.
if redis.call('EXISTS', ready) == 1 or wait == 0 then redis.call('ZADD', wake, 0, '1') end
return { 'open', wait, table.concat(members, '\0') }
