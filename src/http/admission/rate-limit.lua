#!lua flags=allow-oom
-- Token bucket for several requests of one subject. It works like takeTokens() in token-bucket.ts.
--
-- KEYS    1 bucket
-- ARGV    1 capacity  2 tokens refilled per second, then for each request: cost, tokens already paid for it
-- RETURNS for each request: admitted 0|1, tokens, seconds until it could be admitted, seconds until full; numbers as text
local bucket = KEYS[1]
local capacity, refill, requests = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local state = redis.call('HMGET', bucket, 'tokens', 'at')
local tokens = tonumber(state[1] or capacity)
local elapsed = math.max(0, now - tonumber(state[2] or now))
tokens = math.min(capacity, tokens + elapsed * refill / 1000)

local reply = {}
for i = 3, #requests, 2 do
  local cost, paid = tonumber(requests[i]), tonumber(requests[i + 1])
  local before = tokens
  local needed = math.min(cost, capacity)
  local available = before + paid
  local admitted = cost <= 0 or available >= needed
  if admitted then tokens = math.min(capacity, available - cost) end

  reply[#reply + 1] = admitted and 1 or 0
  reply[#reply + 1] = string.format('%.6f', tokens)
  -- The paid tokens do not count here: they stay spent, and the repeated request pays its own.
  reply[#reply + 1] = string.format('%.6f', admitted and 0 or (needed - before) / refill)
  reply[#reply + 1] = string.format('%.6f', (capacity - tokens) / refill)
end

redis.call('HSET', bucket, 'tokens', string.format('%.6f', tokens), 'at', string.format('%.0f', now))
-- A full bucket means the same as no bucket, so the key may expire then.
redis.call('PEXPIRE', bucket, math.ceil((capacity - tokens) / refill * 1000) + 1000)
return reply
