-- Declares a queue whole if the same rebuild is still going on.
--
-- KEYS    1 epoch
-- ARGV    1 epoch during the rebuild  2 epoch of the whole queue
-- RETURNS 1 if the queue is whole now, 0 if another rebuild began or the data were lost
local epoch = KEYS[1]
local rebuilding, whole = ARGV[1], ARGV[2]

if redis.call('GET', epoch) ~= rebuilding then return 0 end
redis.call('SET', epoch, whole)
return 1
