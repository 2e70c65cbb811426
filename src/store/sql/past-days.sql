-- name: past-days
-- args: $1 retention_ms float8, $2 failed_retention_ms float8
-- returns: day text (YYYY-MM-DD, UTC) of every partition that can hold only tasks older than a retention, oldest first
SELECT to_date(right(c.relname, 8), 'YYYYMMDD')::text AS day
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'tasks'::regclass
  AND c.relname ~ '^tasks_\d{8}$'
  AND (to_date(right(c.relname, 8), 'YYYYMMDD') + 1)::timestamp AT TIME ZONE 'UTC'
      < now() - least($1::float8, $2::float8) * interval '1 millisecond'
ORDER BY c.relname
