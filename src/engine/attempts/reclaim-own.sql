-- name: reclaim-own
-- args: $1 worker text, $2 id uuid, $3 attempt int, $4 lost_cap int, $5 error json
-- returns: a row if the worker held the attempt: verb text (reclaim: the task waits again | fail: it was lost too often |
--          abort: a cancel request was pending), lost int
-- A worker uses this to give back an attempt that it executed and whose outcome was refused. The run counts as lost:
-- otherwise a task whose outcomes are always refused would run again without end.
-- The UPDATEs join with `= ANY (ARRAY[…])` so that PostgreSQL finds the row by its primary key (see settle).
-- A dead letter that already exists for the attempt is replaced.
WITH held AS MATERIALIZED (
  SELECT t.id,
         CASE
           WHEN t.cancel_requested_at IS NOT NULL THEN 'abort'
           WHEN t.lost + 1 >= $4::int THEN 'fail'
           ELSE 'reclaim'
         END AS verb
  FROM tasks t
  WHERE t.id = $2::uuid AND t.status = 'PROCESSING' AND t.attempt = $3::int AND t.worker_id = $1::text
  FOR NO KEY UPDATE
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
  RETURNING t.id, h.verb, t.queue, t.action, t.priority, t.attempt, t.lost
), logged AS (
  UPDATE execution_logs l
  SET finished_at = clock_timestamp(), outcome = 'LOST', error = $5::json
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
                SELECT r.attempt, $1::text, 'LOST', clock_timestamp(), $5::json) AS e),
         clock_timestamp()
  FROM reclaimed r
  WHERE r.verb = 'fail'
  ON CONFLICT (task_id, attempt) DO UPDATE
  SET reason = excluded.reason, errors = excluded.errors, failed_at = excluded.failed_at, requeued_at = NULL
)
SELECT verb, lost FROM reclaimed
