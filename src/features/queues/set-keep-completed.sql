-- name: set-keep-completed
-- args: $1 name text, $2 keep_completed bool
-- returns: name text, paused bool, keep_completed bool, version bigint; no row for an unknown queue
-- Applies to tasks that are submitted from now on: submit copies the setting into each of them.
-- A change counts as a use of the queue, so its expiry starts again.
-- The version increases only with a change, so that repeating the call changes nothing.
UPDATE queues
SET keep_completed = $2::bool, version = version + (keep_completed <> $2::bool)::int,
    used_at = CASE WHEN keep_completed <> $2::bool THEN now() ELSE used_at END
WHERE name = $1::text
RETURNING name, paused, keep_completed, version
