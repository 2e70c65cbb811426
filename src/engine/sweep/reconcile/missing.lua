-- Returns which of a queue's waiting tasks are missing in Redis, or have been claimed for so long that the claim is lost.
--
-- KEYS    1 ready  2 delayed  3 inflight
-- ARGV    1 milliseconds after which a claim that was not started is lost, then members
-- RETURNS pairs for these tasks: member, value of the lost claim ('' if the task is missing)
local ready, delayed, inflight = KEYS[1], KEYS[2], KEYS[3]
local lost_after, members = tonumber(ARGV[1]), ARGV

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local reply = {}
for i = 2, #members do
  local member = members[i]
  if not redis.call('ZSCORE', ready, member) and not redis.call('ZSCORE', delayed, member) then
    local claim = redis.call('HGET', inflight, member)
    local claimed = claim and tonumber(string.match(claim, ' (%d+)$') or 0)
    if not claim or now - claimed >= lost_after then
      reply[#reply + 1] = member
      reply[#reply + 1] = claim or ''
    end
  end
end
return reply
