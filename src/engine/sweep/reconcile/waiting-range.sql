-- name: waiting-range
-- args: $1 after_run_at timestamptz, $2 after_id uuid, $3 to_run_at timestamptz, $4 most int
-- returns: waiting tasks by (run_at, id), at most $4: id uuid, queue text, priority smallint, place_ms bigint,
--          run_at text, wait_ms float8 (negative if the task is already due)
SELECT id, queue, priority, place_ms, run_at::text AS run_at,
       extract(epoch FROM run_at - clock_timestamp())::float8 * 1000 AS wait_ms
FROM unfinished
WHERE status IN ('PENDING', 'SCHEDULED') AND (run_at, id) > ($1::timestamptz, $2::uuid) AND run_at <= $3::timestamptz
ORDER BY unfinished.run_at, unfinished.id
LIMIT $4::int
