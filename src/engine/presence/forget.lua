#!lua flags=allow-oom
-- Takes workers out of the registry, but for those that have beaten meanwhile.
--
-- KEYS    1 workers
-- ARGV    pairs: worker id, last beat as it was seen (milliseconds since 1970)
-- RETURNS the number of workers that were taken out
local workers = KEYS[1]
local pairs_given = ARGV

local forgotten = 0
for i = 1, #pairs_given, 2 do
  local worker, seen = pairs_given[i], tonumber(pairs_given[i + 1])
  if tonumber(redis.call('ZSCORE', workers, worker)) == seen then
    forgotten = forgotten + redis.call('ZREM', workers, worker)
  end
end
return forgotten
