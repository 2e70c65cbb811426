-- name: unused-queues
-- args: $1 before_ms float8
-- returns: name text of queues whose last known use was before that time, without `default` and without queues that were
--          paused or keep no completed tasks: a queue that is created again has lost such settings
-- For a fixed time, this set can only shrink: creating, changing or using a queue sets used_at to a later time.
SELECT name
FROM queues
WHERE used_at < to_timestamp($1::float8 / 1000) AND NOT paused AND keep_completed AND name <> 'default'
ORDER BY name
