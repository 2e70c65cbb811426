#!lua flags=allow-oom
-- Token bucket; the same as takeTokens() in core/token-bucket.ts.
--
-- KEYS    1 bucket
-- ARGV    1 capacity  2 tokens refilled per second  3 cost  4 tokens already paid for this request
-- RETURNS {admitted 0|1, tokens, seconds until it could be admitted, seconds until full}, numbers as text
local bucket = KEYS[1]
local capacity, refill, cost, paid = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local state = redis.call('HMGET', bucket, 'tokens', 'at')
local before = tonumber(state[1] or capacity)
local elapsed = math.max(0, now - tonumber(state[2] or now))
before = math.min(capacity, before + elapsed * refill / 1000)

local needed = math.min(cost, capacity)
local available = before + paid
local admitted = cost <= 0 or available >= needed
local tokens = admitted and math.min(capacity, available - cost) or before
-- Without the paid tokens: they stay spent, and the repetition pays its own.
local retry_after = admitted and 0 or (needed - before) / refill
local until_full = (capacity - tokens) / refill

redis.call('HSET', bucket, 'tokens', string.format('%.6f', tokens), 'at', string.format('%.0f', now))
-- A full bucket is the same as none.
redis.call('PEXPIRE', bucket, math.ceil(until_full * 1000) + 1000)
return { admitted and 1 or 0, string.format('%.6f', tokens), string.format('%.6f', retry_after), string.format('%.6f', until_full) }
