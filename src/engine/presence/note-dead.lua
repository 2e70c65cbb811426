#!lua flags=allow-oom
-- Keeps a list of the latest workers that were presumed dead, for people to read. Entries expire.
--
-- KEYS    1 dead workers
-- ARGV    1 milliseconds for which an entry is kept  2 most workers that are kept
--         then pairs: worker id, last beat (milliseconds since 1970)
-- RETURNS the number of workers that are kept
local dead = KEYS[1]
local kept, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local pairs_given = { unpack(ARGV, 3) }

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

for i = 1, #pairs_given, 2 do redis.call('ZADD', dead, pairs_given[i + 1], pairs_given[i]) end
-- Do not use the commands that remove ranges, so that the Redis user needs no permission for them.
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', dead, '-inf', now - kept)) do redis.call('ZREM', dead, worker) end
for _, worker in ipairs(redis.call('ZRANGE', dead, 0, -(most + 1))) do redis.call('ZREM', dead, worker) end
redis.call('PEXPIRE', dead, kept)
return redis.call('ZCARD', dead)
