-- name: statuses-of
-- args: $1 ids uuid[]
-- returns: id uuid, queue text, priority smallint, place_ms bigint, status text, worker_id text,
--          wait_ms float8 (negative if the task is already due), of the tasks that exist
-- `= ANY (ARRAY[…])` makes PostgreSQL find rows by their primary key instead of reading whole days (see settle).
SELECT t.id, t.queue, t.priority, t.place_ms, t.status::text AS status, t.worker_id,
       extract(epoch FROM t.run_at - clock_timestamp())::float8 * 1000 AS wait_ms
FROM unnest($1::uuid[]) AS asked (id)
JOIN tasks t ON t.id = ANY (ARRAY[asked.id])
