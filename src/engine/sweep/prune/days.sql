-- name: days
-- args: $1 retention_ms float8, $2 failed_retention_ms float8
-- returns: a row for each day that has partitions, oldest first: day text (YYYY-MM-DD, UTC),
--          past bool (it can only have tasks older than a retention), due bool (it is time to look at it),
--          surveyed_to uuid (null: not surveyed), held int (null: unknown)
-- A day with partitions of only some of the four tables is returned too. Otherwise that partition would never be dropped.
WITH days AS MATERIALIZED (
  SELECT DISTINCT to_date(right(c.relname, 8), 'YYYYMMDD') AS day
  FROM pg_inherits i
  JOIN pg_class c ON c.oid = i.inhrelid
  WHERE i.inhparent IN ('submissions'::regclass, 'metadata_pairs'::regclass, 'finished'::regclass, 'attempts'::regclass)
    AND c.relname ~ '^(submissions|metadata_pairs|finished|attempts)_[0-9]{8}$'
)
SELECT to_char(d.day, 'YYYY-MM-DD') AS day,
       (d.day + 1)::timestamp AT TIME ZONE 'UTC' < now() - least($1::float8, $2::float8) * interval '1 millisecond' AS past,
       coalesce(p.look_again_at <= now(), true) AS due,
       p.surveyed_to,
       p.held
FROM days d
LEFT JOIN past_days p ON p.day = d.day
ORDER BY d.day
