-- name: statuses-of
-- args: $1 ids uuid[]
-- returns: id uuid, queue text, priority smallint, place_ms bigint, status text, worker_id text,
--          wait_ms float8 (negative: due that long) of those that exist
-- `= ANY (ARRAY[…])`: each row by its primary key, and never by reading whole days (see settle).
SELECT t.id, t.queue, t.priority, t.place_ms, t.status::text AS status, t.worker_id,
       extract(epoch FROM t.run_at - clock_timestamp())::float8 * 1000 AS wait_ms
FROM unnest($1::uuid[]) AS asked (id)
JOIN tasks t ON t.id = ANY (ARRAY[asked.id])
