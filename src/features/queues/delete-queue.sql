-- name: delete-queue
-- args: $1 name text, $2 since_ms float8
-- returns: name text if it was deleted
-- For the transaction that holds the row (hold-queue): what was submitted before the row was held is committed and seen here,
-- since a statement sees what is committed when it begins. What is older than $2 was looked at before.
DELETE FROM queues q
WHERE q.name = $1::text AND NOT q.paused AND q.name <> 'default'
  AND NOT EXISTS (
    SELECT FROM tasks t
    WHERE t.id >= (SELECT lowest_task_id(to_timestamp($2::float8 / 1000))) AND t.queue = $1::text
  )
RETURNING q.name
