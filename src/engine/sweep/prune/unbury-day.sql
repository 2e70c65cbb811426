-- name: unbury-day
-- args: $1 holder text, $2 pass bigint, $3 day date, $4 most int
-- returns: deleted int: number of open dead letters of the day that were deleted, at most $4
-- The day has been surveyed, and none of its tasks has to be kept. This keeps drop-day from deleting many dead letters
-- while it holds its locks. Requeued dead letters stay, because the drop looks at them once more.
WITH doomed AS MATERIALIZED (
  SELECT task_id, attempt
  FROM dlq
  WHERE task_id >= lowest_task_id($3::date::timestamp AT TIME ZONE 'UTC')
    AND task_id < lowest_task_id(($3::date + 1)::timestamp AT TIME ZONE 'UTC')
    AND requeued_at IS NULL
    AND EXISTS (SELECT FROM sweeper s WHERE s.id = 1 AND s.holder = $1::text AND s.pass = $2::bigint AND s.until > clock_timestamp())
  ORDER BY task_id, attempt
  LIMIT $4::int
  FOR UPDATE OF dlq SKIP LOCKED
), deleted AS (
  DELETE FROM dlq
  USING doomed d
  WHERE dlq.task_id = ANY (ARRAY[d.task_id]) AND dlq.attempt = ANY (ARRAY[d.attempt])
  RETURNING dlq.task_id
)
SELECT count(*)::int AS deleted FROM deleted
