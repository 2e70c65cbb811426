-- name: unbury-day
-- args: $1 holder text, $2 pass bigint, $3 day date, $4 most int
-- returns: deleted int: number of dead letters of the day that were deleted, at most $4
-- The day has been surveyed. Deletes the dead letters of the tasks that need not stay, so that drop-day does not have to
-- delete many while it holds its locks. A dead letter that was requeued around the time of the survey or later stays,
-- because the drop looks at it once more: the survey may not have seen what became of the task.
-- `IS NOT TRUE` makes PostgreSQL look the ids up in a hash table.
WITH surveyed AS MATERIALIZED (
  SELECT d.day, d.surveyed_since, d.staying
  FROM past_days d
  WHERE d.day = $3::date AND d.surveyed_to IS NOT NULL
    AND EXISTS (SELECT FROM sweeper s WHERE s.id = 1 AND s.holder = $1::text AND s.pass = $2::bigint AND s.until > clock_timestamp())
), doomed AS MATERIALIZED (
  SELECT task_id, attempt
  FROM dlq
  WHERE task_id >= lowest_task_id($3::date::timestamp AT TIME ZONE 'UTC')
    AND task_id < lowest_task_id(($3::date + 1)::timestamp AT TIME ZONE 'UTC')
    AND EXISTS (SELECT FROM surveyed)
    AND (requeued_at IS NULL OR requeued_at < (SELECT surveyed_since FROM surveyed) - interval '10 minutes')
    AND (task_id IN (SELECT unnest(staying) FROM surveyed)) IS NOT TRUE
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
