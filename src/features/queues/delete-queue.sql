-- name: delete-queue
-- args: $1 name text, $2 since_ms float8, $3 with_settings bool: delete it even if it keeps no completed tasks
-- returns: name text if it was deleted
-- Runs in the transaction that has locked the row (hold-queue). Tasks that were submitted before the lock are committed,
-- so this later statement sees them. Tasks older than $2 were checked before.
DELETE FROM queues q
WHERE q.name = $1::text AND NOT q.paused AND (q.keep_completed OR $3::bool) AND q.name <> 'default'
  AND NOT EXISTS (
    SELECT FROM submissions s
    WHERE s.id >= (SELECT lowest_task_id(to_timestamp($2::float8 / 1000))) AND s.queue = $1::text
  )
RETURNING q.name
