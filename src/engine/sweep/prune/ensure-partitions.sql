-- name: ensure-partitions
-- args: $1 days_ahead int
-- returns: made int: number of partitions that were made; some stay missing if a lock could not be taken
SELECT ensure_partitions($1::int) AS made
