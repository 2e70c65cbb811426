-- name: prune-tasks
-- args: $1 holder text, $2 pass bigint, $3 after uuid, $4 retention_ms float8, $5 failed_retention_ms float8, $6 most int,
--       $7 from uuid, $8 before uuid: only these days
-- returns: looked int, last uuid (null if nothing was looked at), deleted int
-- Looks at the next $6 tasks, by id, that are older than a retention. Deletes the tasks that ended long enough ago, with
-- their attempts, dead letters and pairs. Does nothing once the lease is over.
-- LATERAL, and `= ANY (ARRAY[…])`, make PostgreSQL find rows by their primary key instead of reading whole days (see
-- settle). Because of the conditions on `kind`, of which it knows nothing, the planner expects few rows. If it expected
-- many, it could read a table as a whole that its statistics call empty.
WITH slice AS MATERIALIZED (
  SELECT id, keep_completed, run_at
  FROM submissions
  WHERE id > $3::uuid AND id >= $7::uuid AND id < $8::uuid
    AND id < lowest_task_id(now() - least($4::float8, $5::float8) * interval '1 millisecond')
    AND EXISTS (SELECT FROM sweeper s WHERE s.id = 1 AND s.holder = $1::text AND s.pass = $2::bigint AND s.until > clock_timestamp())
  ORDER BY id
  LIMIT $6::int
), ended AS MATERIALIZED (
  -- The lock keeps out a requeue, which takes the row away. Only rows that are deleted are locked, because a lock is
  -- written to the row.
  SELECT f.id
  FROM slice s
  CROSS JOIN LATERAL (
    SELECT f.id
    FROM finished f
    WHERE f.id = s.id
      AND f.finished_at < now() - CASE f.status WHEN 'FAILED' THEN $5::float8 ELSE $4::float8 END * interval '1 millisecond'
    LIMIT 1
    FOR UPDATE SKIP LOCKED
  ) AS f
  WHERE (SELECT u.id FROM unfinished u WHERE u.id = f.id) IS NULL
), doomed AS MATERIALIZED (
  SELECT id, 'finished' AS kind FROM ended
  UNION ALL
  -- A completed task that is not kept goes by the time when it could run first. Nothing can bring it back.
  SELECT s.id, 'not kept'
  FROM slice s
  WHERE NOT s.keep_completed
    AND (s.run_at IS NULL OR s.run_at < now() - $4::float8 * interval '1 millisecond')
    AND s.id < lowest_task_id(now() - $4::float8 * interval '1 millisecond')
    AND NOT EXISTS (SELECT FROM unfinished u WHERE u.id = ANY (ARRAY[s.id]))
    AND NOT EXISTS (SELECT FROM finished f WHERE f.id = ANY (ARRAY[s.id]))
), unlogged AS (
  DELETE FROM attempts a USING doomed d WHERE d.kind IN ('finished', 'not kept') AND a.task_id = ANY (ARRAY[d.id])
), unburied AS (
  DELETE FROM dlq USING doomed d WHERE d.kind IN ('finished', 'not kept') AND dlq.task_id = ANY (ARRAY[d.id])
), removed AS (
  DELETE FROM finished f USING doomed d WHERE d.kind = 'finished' AND f.id = ANY (ARRAY[d.id])
), deleted AS (
  DELETE FROM submissions s
  USING doomed d
  WHERE d.kind IN ('finished', 'not kept') AND s.id = ANY (ARRAY[d.id])
  RETURNING s.id, s.metadata, d.kind
), unpaired AS (
  DELETE FROM metadata_pairs p
  USING (
    SELECT id, (pair).key AS name, left((pair).value, 200) AS value
    FROM (
      SELECT id, json_each_text(metadata) AS pair FROM deleted WHERE kind IN ('finished', 'not kept')
    ) AS members
  ) AS d
  WHERE p.name = ANY (ARRAY[d.name]) AND p.value = ANY (ARRAY[d.value]) AND p.id = ANY (ARRAY[d.id])
)
SELECT (SELECT count(*)::int FROM slice) AS looked,
       (SELECT id FROM slice ORDER BY id DESC LIMIT 1) AS last,
       (SELECT count(*)::int FROM deleted) AS deleted
