-- name: statuses-of
-- args: $1 ids uuid[]
-- returns: id uuid, queue text, priority smallint, place_ms bigint, status text, worker_id text,
--          wait_ms float8 (negative if the task is already due), of the tasks that exist
-- LATERAL makes PostgreSQL find rows by their primary key instead of reading whole days (see settle).
-- A task that is neither unfinished nor finished is COMPLETED, and its queue does not keep such tasks.
SELECT s.id, s.queue, s.priority,
       coalesce(u.place_ms, f.place_ms, 0) AS place_ms,
       coalesce(u.status, f.status, 'COMPLETED')::text AS status,
       u.worker_id,
       coalesce(extract(epoch FROM coalesce(u.run_at, f.run_at) - clock_timestamp())::float8 * 1000, 0) AS wait_ms
FROM unnest($1::uuid[]) AS asked (id)
CROSS JOIN LATERAL (
  SELECT s.id, s.queue, s.priority FROM submissions s WHERE s.id = asked.id LIMIT 1
) AS s
LEFT JOIN LATERAL (
  SELECT u.place_ms, u.status, u.worker_id, u.run_at FROM unfinished u WHERE u.id = asked.id LIMIT 1
) AS u ON true
LEFT JOIN LATERAL (
  SELECT f.place_ms, f.status, f.run_at FROM finished f WHERE f.id = asked.id LIMIT 1
) AS f ON true
