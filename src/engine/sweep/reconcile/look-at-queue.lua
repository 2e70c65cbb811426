#!lua flags=no-writes
-- Returns the epoch of a queue, the number of its members, and the version of its settings.
--
-- KEYS    1 epoch  2 ready  3 delayed  4 inflight  5 settings
-- ARGV    none
-- RETURNS {epoch ('' if there is none), members waiting, members in flight, version of the settings (0: none)}
local epoch, ready, delayed, inflight, settings = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

local waiting = redis.call('ZCARD', ready) + redis.call('ZCARD', delayed)
return {
  redis.call('GET', epoch) or '',
  waiting,
  redis.call('HLEN', inflight),
  tonumber(redis.call('HGET', settings, 'version') or 0),
}
