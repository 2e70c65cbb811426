#!lua flags=allow-oom
-- Sets the heartbeat key of a worker, for people and tools. This is a script
-- because Redis refuses a plain SET at the memory limit.
--
-- KEYS    1 heartbeat
-- ARGV    1 description (JSON)  2 time to live in milliseconds
-- RETURNS 1
local heartbeat = KEYS[1]
local description, ttl = ARGV[1], ARGV[2]

redis.call('SET', heartbeat, description, 'PX', ttl)
return 1
