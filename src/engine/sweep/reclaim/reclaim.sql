-- name: reclaim
-- args: $1 holder text, $2 pass bigint, $3 worker text, $4 lost_cap int, $5 most int, $6 error json
-- returns: a row for each task taken back, at most $5, in id order: id uuid,
--          verb text (reclaim: the task waits again | fail: it was lost too often | abort: a cancel request was pending),
--          queue text, priority smallint, place_ms bigint, attempt int, lost int, trace_id text
-- Does nothing once the lease is over. Skips rows that are being settled at the moment; the next call gets them.
-- The UPDATEs join with `= ANY (ARRAY[…])` so that PostgreSQL finds rows by their primary key instead of reading whole
-- days (see settle).
WITH held AS MATERIALIZED (
  SELECT t.id,
         CASE
           WHEN t.cancel_requested_at IS NOT NULL THEN 'abort'
           WHEN t.lost + 1 >= $4::int THEN 'fail'
           ELSE 'reclaim'
         END AS verb
  FROM tasks t
  WHERE t.worker_id = $3::text AND t.status = 'PROCESSING'
    AND EXISTS (SELECT FROM sweeper s
                WHERE s.id = 1 AND s.holder = $1::text AND s.pass = $2::bigint AND s.until > clock_timestamp())
  ORDER BY t.id
  LIMIT $5::int
  FOR NO KEY UPDATE OF t SKIP LOCKED
), reclaimed AS (
  UPDATE tasks t
  SET status = CASE h.verb
                 WHEN 'reclaim' THEN 'PENDING'
                 WHEN 'fail' THEN 'FAILED'
                 WHEN 'abort' THEN 'CANCELLED'
               END::task_status,
      lost = t.lost + 1,
      run_at = CASE h.verb WHEN 'reclaim' THEN clock_timestamp() ELSE t.run_at END,
      worker_id = NULL,
      finished_at = CASE WHEN h.verb <> 'reclaim' THEN clock_timestamp() END
  FROM held h
  WHERE t.id = ANY (ARRAY[h.id])
  RETURNING t.id, h.verb, t.queue, t.action, t.priority, t.place_ms, t.attempt, t.lost, t.trace_id
), logged AS (
  UPDATE execution_logs l
  SET finished_at = clock_timestamp(), outcome = 'LOST', error = $6::json
  FROM reclaimed r
  WHERE l.task_id = ANY (ARRAY[r.id]) AND l.attempt = ANY (ARRAY[r.attempt])
), buried AS (
  INSERT INTO dlq (task_id, attempt, queue, action, priority, reason, errors, failed_at)
  SELECT r.id, r.attempt, r.queue, r.action, r.priority, 'lost_cap',
         (SELECT json_agg(json_build_object('attempt', e.attempt, 'worker_id', e.worker_id, 'outcome', e.outcome,
                                            'at', e.at, 'error', e.error) ORDER BY e.attempt)
          FROM (SELECT l.attempt, l.worker_id, l.outcome::text, l.finished_at AS at, l.error
                FROM execution_logs l
                WHERE l.task_id = r.id AND l.attempt < r.attempt AND l.outcome IN ('RETRIED', 'FAILED', 'LOST')
                UNION ALL
                SELECT r.attempt, $3::text, 'LOST', clock_timestamp(), $6::json) AS e),
         clock_timestamp()
  FROM reclaimed r
  WHERE r.verb = 'fail'
)
SELECT id, verb, queue, priority, place_ms, attempt, lost, trace_id
FROM reclaimed
ORDER BY id
