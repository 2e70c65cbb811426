-- name: survey-day
-- args: $1 day date, $2 after uuid, $3 retention_ms float8, $4 failed_retention_ms float8, $5 most int
-- returns: looked int, last uuid (null if nothing was looked at), wanted bool
-- Looks at the next $5 tasks of a day, by id. `wanted` says whether one of them is unfinished or still has to be kept.
WITH slice AS MATERIALIZED (
  SELECT id, status, finished_at
  FROM tasks
  WHERE id > $2::uuid
    AND id >= lowest_task_id($1::date::timestamp AT TIME ZONE 'UTC')
    AND id < lowest_task_id(($1::date + 1)::timestamp AT TIME ZONE 'UTC')
  ORDER BY id
  LIMIT $5::int
)
SELECT count(*)::int AS looked,
       (SELECT id FROM slice ORDER BY id DESC LIMIT 1) AS last,
       coalesce(bool_or(finished_at IS NULL
                        OR finished_at >= now() - CASE status WHEN 'FAILED' THEN $4::float8 ELSE $3::float8 END * interval '1 millisecond'),
                false) AS wanted
FROM slice
