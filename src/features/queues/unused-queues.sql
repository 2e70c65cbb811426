-- name: unused-queues
-- args: $1 before_ms float8
-- returns: name text of queues that were last seen to be used before that time; neither paused ones nor `default`
-- For one and the same time, the set only shrinks: what is made, resumed or seen to be used is used later than that.
SELECT name
FROM queues
WHERE used_at < to_timestamp($1::float8 / 1000) AND NOT paused AND name <> 'default'
ORDER BY name
