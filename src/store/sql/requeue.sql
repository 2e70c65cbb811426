-- name: requeue
-- args: $1 task_id uuid (null: any), $2 after uuid: only greater ids (null: from the first), $3 queue text, $4 action text,
--       $5 reason text, $6 failed_after timestamptz, $7 failed_before timestamptz, $8 error_contains text (each null: any),
--       $9 most int, $10 place text (keep | back), $11 base_ms float8: start of the whole requeue by PostgreSQL's clock
--       (null: now), $12 spacing_ms float8 between two tasks (null: all at once), $13 offset int: tasks that went before
-- returns: a row for each of the first open dead letters by id that match, at most $9: id uuid, requeued bool,
--          base_ms float8, and if requeued queue text, priority smallint, place_ms bigint, wait_ms float8.
--          Not requeued is a task that is no longer FAILED.
-- Tasks sent to the back keep the order of their ids, over several calls with one base too.
WITH matching AS MATERIALIZED (
  SELECT d.task_id, d.attempt
  FROM dlq d
  WHERE d.requeued_at IS NULL
    AND ($1::uuid IS NULL OR d.task_id = $1::uuid)
    AND ($2::uuid IS NULL OR d.task_id > $2::uuid)
    AND ($3::text IS NULL OR d.queue = $3::text)
    AND ($4::text IS NULL OR d.action = $4::text)
    AND ($5::text IS NULL OR d.reason = $5::text)
    AND ($6::timestamptz IS NULL OR d.failed_at >= $6::timestamptz)
    AND ($7::timestamptz IS NULL OR d.failed_at < $7::timestamptz)
    AND ($8::text IS NULL OR strpos(d.errors::text, $8::text) > 0)
  ORDER BY d.task_id
  LIMIT $9::int
), held AS MATERIALIZED (
  SELECT t.id, t.attempt
  FROM matching m
  JOIN tasks t ON t.id = m.task_id
  WHERE t.status = 'FAILED' AND t.attempt = m.attempt
  ORDER BY t.id
  FOR NO KEY UPDATE OF t
), start AS MATERIALIZED (
  SELECT coalesce($11::float8, extract(epoch FROM clock_timestamp())::float8 * 1000) AS base_ms
), planned AS MATERIALIZED (
  SELECT h.id, h.attempt,
         floor(s.base_ms + coalesce($12::float8, 0) * ($13::int + row_number() OVER (ORDER BY h.id) - 1)) AS due_ms
  FROM held h, start s
), requeued AS (
  UPDATE tasks t
  SET status = CASE WHEN $12::float8 IS NULL THEN 'PENDING' ELSE 'SCHEDULED' END::task_status,
      failures = 0,
      lost = 0,
      place_ms = CASE $10::text WHEN 'back' THEN p.due_ms::bigint ELSE t.place_ms END,
      -- Never in the past: the watermark would not look there any more.
      run_at = greatest(clock_timestamp(), to_timestamp(p.due_ms / 1000)),
      progress = NULL,
      cancel_requested_at = NULL,
      finished_at = NULL
  FROM planned p
  WHERE t.id = p.id
  RETURNING t.id, p.attempt, t.queue, t.priority, t.place_ms, t.run_at
), closed AS (
  UPDATE dlq d
  SET requeued_at = clock_timestamp()
  FROM requeued r
  WHERE d.task_id = r.id AND d.attempt = r.attempt
)
SELECT m.task_id AS id, r.id IS NOT NULL AS requeued, s.base_ms, r.queue, r.priority, r.place_ms,
       greatest(0, ceil(extract(epoch FROM r.run_at - clock_timestamp()) * 1000))::float8 AS wait_ms
FROM matching m
CROSS JOIN start s
LEFT JOIN requeued r ON r.id = m.task_id
ORDER BY m.task_id
