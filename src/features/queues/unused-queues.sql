-- name: unused-queues
-- args: $1 before_ms float8
-- returns: name text of queues whose last known use was before that time, without paused queues and without `default`
-- For a fixed time, this set can only shrink: creating, resuming or using a queue sets used_at to a later time.
SELECT name
FROM queues
WHERE used_at < to_timestamp($1::float8 / 1000) AND NOT paused AND name <> 'default'
ORDER BY name
