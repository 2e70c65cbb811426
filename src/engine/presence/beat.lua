#!lua flags=allow-oom
-- Records a heartbeat in the registry. It also records what verdicts need to
-- know: the time of the last beat of any process, and the end of the last gap
-- without beats. During such a gap Redis was away rather than the workers, so
-- every silence counts from its end.
--
-- KEYS    1 workers
-- ARGV    1 worker id  2 milliseconds without any beat that make a gap
-- RETURNS the time of the beat, in milliseconds since 1970
local workers = KEYS[1]
local worker, gap = ARGV[1], tonumber(ARGV[2])

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local last = tonumber(redis.call('ZSCORE', workers, '@last') or 0)
-- A clock that went back counts as a gap too, because earlier beats cannot be compared with it.
if now - last > gap or now < last then redis.call('ZADD', workers, now, '@gap') end
redis.call('ZADD', workers, now, '@last', now, worker)
return string.format('%.0f', now)
