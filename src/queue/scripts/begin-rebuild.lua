-- Sets the mark under which a queue is rebuilt.
--
-- KEYS    1 epoch
-- ARGV    1 format of keys, members and scores  2 nonce of the rebuild
-- RETURNS 1
local epoch = KEYS[1]
local format, nonce = ARGV[1], ARGV[2]

local server = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') .. ':' .. format
redis.call('SET', epoch, server .. ' ' .. nonce)
return 1
