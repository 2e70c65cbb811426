-- Whether a queue is whole on this server, how much it holds, and which settings it has.
--
-- KEYS    1 epoch  2 ready  3 delayed  4 inflight  5 settings
-- ARGV    1 format of keys, members and scores
-- RETURNS {state, members waiting, members in flight, version of the settings (0: none)}: state 'whole', 'rebuilding <nonce>', or
--         'lost' (Redis lost its data, or holds those of another server's past or another format)
local epoch, ready, delayed, inflight, settings = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local format = ARGV[1]

-- The run id is another after every start and failover, so that an old snapshot is told from the present.
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') .. ':' .. format
local found = redis.call('GET', epoch)
local state = 'lost'
if found == server then
  state = 'whole'
elseif found and string.sub(found, 1, #server + 1) == server .. ' ' then
  state = 'rebuilding ' .. string.sub(found, #server + 2)
end
local waiting = redis.call('ZCARD', ready) + redis.call('ZCARD', delayed)
return { state, waiting, redis.call('HLEN', inflight), tonumber(redis.call('HGET', settings, 'version') or 0) }
