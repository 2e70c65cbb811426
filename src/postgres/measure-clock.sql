-- name: measure-clock
-- args: none
-- returns: now_ms float8, milliseconds since 1970
SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS now_ms
