-- name: note-queues-used
-- args: $1 names text[]
-- returns: nothing
-- Submissions lock only the key of the row (FOR KEY SHARE), so this statement does not wait for them.
UPDATE queues
SET used_at = now()
WHERE name IN (SELECT name FROM queues WHERE name = ANY ($1::text[]) ORDER BY name FOR NO KEY UPDATE)
