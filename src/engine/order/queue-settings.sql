-- name: queue-settings
-- args: $1 names text[]
-- returns: name text, version bigint, paused bool of the named queues that have a row
SELECT name, version, paused
FROM queues
WHERE name = ANY ($1::text[])
