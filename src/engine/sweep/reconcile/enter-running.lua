#!lua
-- Enters running tasks into inflight if they are not there. Their claims count from now.
--
-- KEYS    1 inflight
-- ARGV    pairs: member, worker id
-- RETURNS pairs of the entries that were missing: member, value
local inflight = KEYS[1]
local entries = ARGV

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))

local entered = {}
for i = 1, #entries, 2 do
  local member, value = entries[i], entries[i + 1] .. ' ' .. now
  if redis.call('HSETNX', inflight, member, value) == 1 then
    entered[#entered + 1] = member
    entered[#entered + 1] = value
  end
end
return entered
