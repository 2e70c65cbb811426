#!lua flags=allow-oom
-- Removes workers from the registry, except workers that have beaten meanwhile.
--
-- KEYS    1 workers
-- ARGV    pairs: worker id, last beat that the caller has seen (milliseconds since 1970)
-- RETURNS the number of workers that were removed
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
