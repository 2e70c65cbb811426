#!lua flags=allow-oom
-- Copies a queue's settings from its row. An older version does not overwrite a
-- newer one, so that a slow reader cannot un-pause a queue. The only exception is
-- a newer version that belongs to a change that PostgreSQL has lost.
--
-- KEYS    1 settings  2 wake
-- ARGV    1 version  2 paused (1 or 0)  3 version that PostgreSQL has lost (0: none)
-- RETURNS 1 if written, 0 if a newer version was kept
local settings, wake = KEYS[1], KEYS[2]
local version, paused, lost = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])

local known = redis.call('HMGET', settings, 'version', 'paused')
local standing = tonumber(known[1] or 0)
if version < standing and standing ~= lost then return 0 end
redis.call('HSET', settings, 'version', version, 'paused', paused)
-- Wake a blocked worker only for a change, because every sweep sets the same settings again.
if known[2] ~= paused then redis.call('ZADD', wake, 0, '1') end
return 1
