-- name: delete-queue
-- args: $1 name text, $2 since_ms float8
-- returns: name text if it was deleted
-- Runs in the transaction that has locked the row (hold-queue). Tasks that were submitted before the lock are committed,
-- so this later statement sees them. Tasks older than $2 were checked before.
DELETE FROM queues q
WHERE q.name = $1::text AND NOT q.paused AND q.name <> 'default'
  AND NOT EXISTS (
    SELECT FROM tasks t
    WHERE t.id >= (SELECT lowest_task_id(to_timestamp($2::float8 / 1000))) AND t.queue = $1::text
  )
RETURNING q.name
