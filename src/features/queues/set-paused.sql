-- name: set-paused
-- args: $1 name text, $2 paused bool
-- returns: name text, paused bool, keep_completed bool, version bigint; no row for an unknown queue
-- A change counts as a use of the queue, so its expiry starts again.
-- The version increases only with a change, so that repeating the call changes nothing.
UPDATE queues
SET paused = $2::bool, version = version + (paused <> $2::bool)::int,
    used_at = CASE WHEN paused <> $2::bool THEN now() ELSE used_at END
WHERE name = $1::text
RETURNING name, paused, keep_completed, version
