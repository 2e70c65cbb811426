-- name: reclaim
-- args: $1 holder text, $2 pass bigint, $3 worker text, $4 lost_cap int, $5 most int, $6 error json
-- returns: a row for each task taken back, at most $5, in id order: id uuid,
--          verb text (reclaim: the task waits again | fail: it was lost too often | abort: a cancel request was pending),
--          queue text, priority smallint, place_ms bigint, attempt int, lost int, trace_id text ('' if the submission
--          is missing)
-- Does nothing once the lease is over. Skips rows that are being settled at the moment; the next call gets them.
-- What already exists under the same attempt is replaced. Otherwise one such task would keep all tasks of its worker from
-- being taken back. The part from `ended` on is the same as in `reclaim-own`.
-- The joins use `= ANY (ARRAY[…])` so that PostgreSQL finds rows by their primary key instead of reading whole
-- days (see settle).
WITH held AS MATERIALIZED (
  SELECT u.id,
         CASE
           WHEN u.cancel_requested_at IS NOT NULL THEN 'abort'
           WHEN u.lost + 1 >= $4::int THEN 'fail'
           ELSE 'reclaim'
         END AS verb
  FROM unfinished u
  WHERE u.worker_id = $3::text AND u.status = 'PROCESSING'
    AND EXISTS (SELECT FROM sweeper s
                WHERE s.id = 1 AND s.holder = $1::text AND s.pass = $2::bigint AND s.until > clock_timestamp())
  ORDER BY u.id
  LIMIT $5::int
  FOR UPDATE OF u SKIP LOCKED
), ended AS (
  DELETE FROM unfinished u
  USING held h
  WHERE h.verb IN ('fail', 'abort') AND u.id = ANY (ARRAY[h.id])
  RETURNING u.id, h.verb, u.queue, u.priority, u.place_ms, u.limited, u.notify, u.run_at, u.attempt, u.failures,
            u.lost + 1 AS lost, u.cancel_requested_at, u.ordinal, u.started_at, u.progress
), finished_now AS (
  INSERT INTO finished (id, status, place_ms, limited, notify, run_at, attempt, failures, lost, cancel_requested_at,
                        finished_at, worker_id, ordinal, started_at, outcome, error, progress)
  SELECT id, CASE verb WHEN 'fail' THEN 'FAILED' ELSE 'CANCELLED' END::task_status, place_ms, limited, notify, run_at,
         attempt, failures, lost, cancel_requested_at, clock_timestamp(), $3::text, ordinal, started_at, 'LOST', $6::json,
         progress
  FROM ended
  ON CONFLICT (id) DO UPDATE
  SET status = excluded.status, place_ms = excluded.place_ms, limited = excluded.limited, notify = excluded.notify,
      run_at = excluded.run_at, attempt = excluded.attempt, failures = excluded.failures, lost = excluded.lost,
      cancel_requested_at = excluded.cancel_requested_at, finished_at = excluded.finished_at, worker_id = excluded.worker_id,
      ordinal = excluded.ordinal, started_at = excluded.started_at, outcome = excluded.outcome, error = excluded.error,
      result = NULL, progress = excluded.progress
), cleared AS (
  DELETE FROM attempts a
  USING ended e
  WHERE a.task_id = ANY (ARRAY[e.id]) AND a.attempt = ANY (ARRAY[e.attempt])
), reclaimed AS (
  UPDATE unfinished u
  SET status = 'PENDING', lost = u.lost + 1, run_at = clock_timestamp(), worker_id = NULL
  FROM held h
  WHERE h.verb = 'reclaim' AND u.id = ANY (ARRAY[h.id])
  RETURNING u.id, h.verb, u.queue, u.priority, u.place_ms, u.attempt, u.lost, u.ordinal, u.started_at
), logged AS (
  INSERT INTO attempts (task_id, attempt, worker_id, ordinal, started_at, finished_at, outcome, error)
  SELECT id, attempt, $3::text, ordinal, started_at, clock_timestamp(), 'LOST', $6::json
  FROM reclaimed
  ON CONFLICT (task_id, attempt) DO UPDATE
  SET worker_id = excluded.worker_id, ordinal = excluded.ordinal, started_at = excluded.started_at,
      finished_at = excluded.finished_at, outcome = excluded.outcome, error = excluded.error, result = NULL
), buried AS (
  INSERT INTO dlq (task_id, attempt, queue, action, priority, reason, errors, failed_at)
  SELECT e.id, e.attempt, e.queue, (SELECT s.action FROM submissions s WHERE s.id = e.id), e.priority, 'lost_cap',
         (SELECT json_agg(json_build_object('attempt', a.attempt, 'worker_id', a.worker_id, 'outcome', a.outcome,
                                            'at', a.at, 'error', a.error) ORDER BY a.attempt)
          FROM (SELECT l.attempt, l.worker_id, l.outcome::text, l.finished_at AS at, l.error
                FROM attempts l
                WHERE l.task_id = e.id AND l.attempt < e.attempt AND l.outcome IN ('RETRIED', 'FAILED', 'LOST')
                UNION ALL
                SELECT e.attempt, $3::text, 'LOST', clock_timestamp(), $6::json) AS a),
         clock_timestamp()
  FROM ended e
  WHERE e.verb = 'fail'
  ON CONFLICT (task_id, attempt) DO UPDATE
  SET reason = excluded.reason, errors = excluded.errors, failed_at = excluded.failed_at, requeued_at = NULL
)
SELECT r.id, r.verb, r.queue, r.priority, r.place_ms, r.attempt, r.lost, coalesce(s.trace_id, '') AS trace_id
FROM (SELECT id, verb, queue, priority, place_ms, attempt, lost FROM reclaimed
      UNION ALL
      SELECT id, verb, queue, priority, place_ms, attempt, lost FROM ended) AS r
LEFT JOIN LATERAL (SELECT s.trace_id FROM submissions s WHERE s.id = r.id LIMIT 1) AS s ON true
ORDER BY r.id
