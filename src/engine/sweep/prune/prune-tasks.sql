-- name: prune-tasks
-- args: $1 holder text, $2 pass bigint, $3 after uuid, $4 retention_ms float8, $5 failed_retention_ms float8, $6 most int
-- returns: looked int, last uuid (null if nothing was looked at), deleted int
-- Looks at the next $6 tasks, by id, that are older than a retention. Deletes the tasks that ended long enough ago, with
-- their logs and dead letters. Does nothing once the lease is over.
-- `= ANY (ARRAY[…])` makes PostgreSQL find rows by their primary key instead of reading whole days (see settle).
WITH slice AS MATERIALIZED (
  SELECT id
  FROM tasks
  WHERE id > $3::uuid AND id < lowest_task_id(now() - least($4::float8, $5::float8) * interval '1 millisecond')
    AND EXISTS (SELECT FROM sweeper s WHERE s.id = 1 AND s.holder = $1::text AND s.pass = $2::bigint AND s.until > clock_timestamp())
  ORDER BY id
  LIMIT $6::int
), doomed AS MATERIALIZED (
  SELECT t.id
  FROM slice s
  JOIN tasks t ON t.id = ANY (ARRAY[s.id])
  -- An unfinished task has no finished_at, so this never selects one.
  WHERE t.finished_at < now() - CASE t.status WHEN 'FAILED' THEN $5::float8 ELSE $4::float8 END * interval '1 millisecond'
  ORDER BY t.id
  FOR UPDATE OF t SKIP LOCKED
), unlogged AS (
  DELETE FROM execution_logs l USING doomed d WHERE l.task_id = ANY (ARRAY[d.id])
), unburied AS (
  DELETE FROM dlq USING doomed d WHERE dlq.task_id = d.id
), deleted AS (
  DELETE FROM tasks t USING doomed d WHERE t.id = ANY (ARRAY[d.id]) RETURNING t.id
)
SELECT (SELECT count(*)::int FROM slice) AS looked,
       (SELECT id FROM slice ORDER BY id DESC LIMIT 1) AS last,
       (SELECT count(*)::int FROM deleted) AS deleted
