-- name: past-days
-- args: $1 retention_ms float8, $2 failed_retention_ms float8
-- returns: day text (YYYY-MM-DD, UTC) of every partition that can only have tasks older than a retention, oldest first
-- A day with partitions of only some of the four tables is returned too. Otherwise that partition would never be dropped.
WITH days AS MATERIALIZED (
  SELECT DISTINCT right(c.relname, 8) AS day
  FROM pg_inherits i
  JOIN pg_class c ON c.oid = i.inhrelid
  WHERE i.inhparent IN ('submissions'::regclass, 'metadata_pairs'::regclass, 'finished'::regclass, 'attempts'::regclass)
    AND c.relname ~ '^(submissions|metadata_pairs|finished|attempts)_[0-9]{8}$'
)
SELECT to_char(to_date(day, 'YYYYMMDD'), 'YYYY-MM-DD') AS day
FROM days
WHERE (to_date(day, 'YYYYMMDD') + 1)::timestamp AT TIME ZONE 'UTC'
      < now() - least($1::float8, $2::float8) * interval '1 millisecond'
ORDER BY day
