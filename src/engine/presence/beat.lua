#!lua flags=allow-oom
-- A heartbeat in the registry. It also keeps what verdicts need to know of the
-- past: when anybody beat last, and the end of the last gap in which nobody
-- did (then Redis was away, not the workers, and all silence starts anew).
--
-- KEYS    1 workers
-- ARGV    1 worker id  2 milliseconds without any beat that make a gap
-- RETURNS the time of the beat, in milliseconds since 1970
local workers = KEYS[1]
local worker, gap = ARGV[1], tonumber(ARGV[2])

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local last = tonumber(redis.call('ZSCORE', workers, '@last') or 0)
-- A clock that went back is a gap as well: the beats before it cannot be compared.
if now - last > gap or now < last then redis.call('ZADD', workers, now, '@gap') end
redis.call('ZADD', workers, now, '@last', now, worker)
return string.format('%.0f', now)
