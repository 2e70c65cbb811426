-- Declares a queue whole, if the mark of its rebuild still stands on this very server.
--
-- KEYS    1 epoch
-- ARGV    1 format of keys, members and scores  2 nonce of the rebuild
-- RETURNS 1 if it is whole now, 0 if it has to be rebuilt once more
local epoch = KEYS[1]
local format, nonce = ARGV[1], ARGV[2]

local server = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') .. ':' .. format
if redis.call('GET', epoch) ~= server .. ' ' .. nonce then return 0 end
redis.call('SET', epoch, server)
return 1
