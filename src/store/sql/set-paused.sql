-- name: set-paused
-- args: $1 name text, $2 paused bool
-- returns: name text, paused bool, version bigint; no row for an unknown queue
-- The version grows only with a change, so that repeating the call changes nothing.
UPDATE queues
SET paused = $2::bool, version = version + (paused <> $2::bool)::int
WHERE name = $1::text
RETURNING name, paused, version
