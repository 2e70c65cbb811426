-- name: look-at-lease
-- args: none
-- returns: holder text, free bool, idle_ms float8 since the last successful pass (null: there was none)
SELECT holder, until < clock_timestamp() AS free, extract(epoch FROM clock_timestamp() - last_success_at)::float8 * 1000 AS idle_ms
FROM sweeper
WHERE id = 1
