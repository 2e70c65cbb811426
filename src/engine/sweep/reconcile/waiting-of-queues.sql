-- name: waiting-of-queues
-- args: $1 queues text[], $2 after_priority smallint, $3 after_place_ms bigint, $4 after_id uuid, $5 most int
-- returns: waiting tasks in the order in which they run, at most $5: id uuid, queue text, priority smallint,
--          place_ms bigint, wait_ms float8 (negative if the task is already due)
SELECT id, queue, priority, place_ms, extract(epoch FROM run_at - clock_timestamp())::float8 * 1000 AS wait_ms
FROM unfinished
WHERE status IN ('PENDING', 'SCHEDULED') AND queue = ANY ($1::text[])
  AND (priority, place_ms, id) > ($2::smallint, $3::bigint, $4::uuid)
ORDER BY priority, place_ms, id
LIMIT $5::int
