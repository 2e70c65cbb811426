-- name: survey-day
-- args: $1 holder text, $2 pass bigint, $3 day date, $4 after uuid (the first id of all begins a new survey),
--       $5 retention_ms float8, $6 failed_retention_ms float8, $7 look int, $8 most int
-- returns: looked int, last uuid (null if nothing was looked at), and what the whole survey has found so far:
--          held int (tasks that must stay), lasting int (those of them that stay for another day at least);
--          no row once the lease is over
-- Looks at the next $7 tasks of a past day, by id, and notes in `past_days` which of them must stay: the unfinished ones,
-- and those whose retention is not over. Of their ids, it notes no more than $8 + 1.
-- LATERAL with LIMIT makes PostgreSQL find rows by their primary key instead of reading whole days.
WITH slice AS MATERIALIZED (
  SELECT id, keep_completed, run_at
  FROM submissions
  WHERE id > $4::uuid
    AND id >= lowest_task_id($3::date::timestamp AT TIME ZONE 'UTC')
    AND id < lowest_task_id(($3::date + 1)::timestamp AT TIME ZONE 'UTC')
    AND EXISTS (SELECT FROM sweeper s WHERE s.id = 1 AND s.holder = $1::text AND s.pass = $2::bigint AND s.until > clock_timestamp())
  ORDER BY id
  LIMIT $7::int
), judged AS MATERIALIZED (
  SELECT s.id,
         CASE
           WHEN f.finished_at IS NOT NULL
             THEN f.finished_at + CASE f.status WHEN 'FAILED' THEN $6::float8 ELSE $5::float8 END * interval '1 millisecond'
           -- A completed task that is not kept goes by the end of its day, and by the time when it could run first.
           WHEN NOT s.keep_completed AND u.id IS NULL
             THEN greatest(s.run_at, ($3::date + 1)::timestamp AT TIME ZONE 'UTC') + $5::float8 * interval '1 millisecond'
           ELSE 'infinity'
         END AS kept_until
  FROM slice s
  LEFT JOIN LATERAL (
    SELECT f.finished_at, f.status FROM finished f WHERE f.id = s.id LIMIT 1
  ) AS f ON true
  LEFT JOIN LATERAL (
    SELECT u.id FROM unfinished u WHERE u.id = s.id LIMIT 1
  ) AS u ON f.finished_at IS NULL
), seen AS MATERIALIZED (
  SELECT count(*)::int AS looked,
         (SELECT id FROM slice ORDER BY id DESC LIMIT 1) AS last,
         count(*) FILTER (WHERE kept_until >= now())::int AS held,
         count(*) FILTER (WHERE kept_until >= now() + interval '1 day')::int AS lasting,
         coalesce((array_agg(id ORDER BY id) FILTER (WHERE kept_until >= now()))[1:$8::int + 1], '{}') AS staying
  FROM judged
), noted AS (
  INSERT INTO past_days AS d (day, looked_at, look_again_at, surveyed_since, surveyed_to, held, lasting, staying)
  SELECT $3::date, now(), now(), now(), coalesce(last, $4::uuid), held, lasting, staying
  FROM seen
  WHERE EXISTS (SELECT FROM sweeper s WHERE s.id = 1 AND s.holder = $1::text AND s.pass = $2::bigint AND s.until > clock_timestamp())
  ON CONFLICT (day) DO UPDATE
    SET looked_at = excluded.looked_at,
        look_again_at = excluded.look_again_at,
        surveyed_since = CASE WHEN $4::uuid = '00000000-0000-0000-0000-000000000000' THEN excluded.surveyed_since ELSE d.surveyed_since END,
        surveyed_to = excluded.surveyed_to,
        held = CASE WHEN $4::uuid = '00000000-0000-0000-0000-000000000000' THEN 0 ELSE d.held END + excluded.held,
        lasting = CASE WHEN $4::uuid = '00000000-0000-0000-0000-000000000000' THEN 0 ELSE d.lasting END + excluded.lasting,
        staying = (CASE WHEN $4::uuid = '00000000-0000-0000-0000-000000000000' THEN '{}' ELSE d.staying END
                   || excluded.staying)[1:$8::int + 1]
  RETURNING d.held, d.lasting
)
SELECT s.looked, s.last, n.held, n.lasting FROM seen s, noted n
