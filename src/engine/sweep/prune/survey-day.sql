-- name: survey-day
-- args: $1 day date, $2 after uuid, $3 retention_ms float8, $4 failed_retention_ms float8, $5 most int
-- returns: looked int, last uuid (null if nothing was looked at), wanted bool, now text (time of this statement)
-- Looks at the next $5 tasks of a day, by id. `wanted` says whether one of them is unfinished or still has to be kept.
WITH slice AS MATERIALIZED (
  SELECT id, keep_completed, run_at
  FROM submissions
  WHERE id > $2::uuid
    AND id >= lowest_task_id($1::date::timestamp AT TIME ZONE 'UTC')
    AND id < lowest_task_id(($1::date + 1)::timestamp AT TIME ZONE 'UTC')
  ORDER BY id
  LIMIT $5::int
)
SELECT count(*)::int AS looked,
       (SELECT id FROM slice ORDER BY id DESC LIMIT 1) AS last,
       coalesce(bool_or(CASE
                          WHEN f.finished_at IS NOT NULL
                            THEN f.finished_at >= now() - CASE f.status WHEN 'FAILED' THEN $4::float8 ELSE $3::float8 END
                                                          * interval '1 millisecond'
                          -- A completed task that is not kept goes by its id, and by the time when it could run first.
                          WHEN NOT s.keep_completed AND u.id IS NULL
                            THEN (s.run_at >= now() - $3::float8 * interval '1 millisecond') IS TRUE
                                 OR s.id >= lowest_task_id(now() - $3::float8 * interval '1 millisecond')
                          ELSE true
                        END),
                false) AS wanted,
       now()::text AS now
FROM slice s
LEFT JOIN LATERAL (
  SELECT f.finished_at, f.status FROM finished f WHERE f.id = s.id LIMIT 1
) AS f ON true
LEFT JOIN LATERAL (
  SELECT u.id FROM unfinished u WHERE u.id = s.id LIMIT 1
) AS u ON f.finished_at IS NULL
