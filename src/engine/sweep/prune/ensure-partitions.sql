-- name: ensure-partitions
-- args: $1 days_ahead int
-- returns: made int, partitions that were made; fewer than missing where a lock was not to be had
SELECT ensure_partitions($1::int) AS made
