-- name: drop-day
-- args: $1 holder text, $2 pass bigint, $3 day date,
--       $4 surveyed_at timestamptz (since when the day has been surveyed)
-- returns: dropped bool: false if a lock could not be taken, or the day has an unfinished task or one that
--          was requeued since the survey; no row once the lease is over.
-- The dead letters of the day are deleted with it: those that were requeued, and those that unbury-day has left.
WITH dropped AS MATERIALIZED (
  SELECT drop_partitions_of($3::date, $4::timestamptz) AS dropped
  FROM sweeper
  WHERE id = 1 AND holder = $1::text AND pass = $2::bigint AND until > clock_timestamp()
), unburied AS (
  DELETE FROM dlq
  USING dropped d
  WHERE d.dropped
    AND dlq.task_id >= lowest_task_id($3::date::timestamp AT TIME ZONE 'UTC')
    AND dlq.task_id < lowest_task_id(($3::date + 1)::timestamp AT TIME ZONE 'UTC')
)
SELECT dropped FROM dropped
