-- name: all-queue-settings
-- args: none
-- returns: name text, version bigint, paused bool of every queue, ordered by name
SELECT name, version, paused
FROM queues
ORDER BY name
