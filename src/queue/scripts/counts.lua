#!lua flags=no-writes
-- Counts of a queue, and the place of the first ready member of each priority.
--
-- KEYS    1 ready  2 delayed  3 inflight  4 settings
-- ARGV    none
-- RETURNS {ready, due, delayed (not due), inflight, paused 0|1, place...}
local ready, delayed, inflight, settings = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

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
  local head = redis.call('ZRANGEBYSCORE', ready, low, high, 'WITHSCORES', 'LIMIT', 0, 1)
  if head[2] then reply[#reply + 1] = string.format('%.0f', head[2] - priority * band) end
end
return reply
