#!lua flags=no-writes
-- Returns the counts of a queue, and the first ready members of each priority.
--
-- KEYS    1 ready  2 delayed  3 inflight  4 settings
-- ARGV    1 most members of each priority
-- RETURNS {ready, due, delayed (not due), inflight, paused 0|1, member...}
local ready, delayed, inflight, settings = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local most = ARGV[1]

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local band = 4398046511104

local due = redis.call('ZCOUNT', delayed, '-inf', now)
local reply = {
  redis.call('ZCARD', ready),
  due,
  redis.call('ZCARD', delayed) - due,
  redis.call('HLEN', inflight),
  redis.call('HGET', settings, 'paused') == '1' and 1 or 0,
}
for priority = 1, 3 do
  local low = string.format('%.0f', priority * band)
  local high = string.format('(%.0f', (priority + 1) * band)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', ready, low, high, 'LIMIT', 0, most)) do
    reply[#reply + 1] = member
  end
end
return reply
