-- name: settle
-- args: $1 worker text, $2 ids uuid[], $3 attempts int[], $4 verbs text[] (complete | retry | fail | release),
--       $5 delays_ms float8[] (retry), $6 reasons text[] (fail), $7 errors json[], $8 results json[],
--       $9 least uuid, $10 greatest uuid of the ids: with `ALL (ARRAY[…])` the planner leaves out the
--       partitions of other days, and does not consider scanning the index between the two bounds,
--       $11 progress json[] (null leaves the row's progress as it is)
-- returns: a row for every (id, attempt): id uuid, attempt int, verdict text (settled | already | locked | stale),
--          verb text (the verb that was written: abort if a cancel request was pending)
-- An outcome is written only for the latest attempt, and only for the worker that runs it; any other outcome is stale.
-- The statement never waits for a lock: a row that another transaction locks, or has changed since the statement began,
-- is `locked`, and the worker has to ask again.
-- LATERAL, and `= ANY (ARRAY[…])` in the joins of the UPDATEs, make PostgreSQL find each row by its primary key, in id
-- order. With `=` the planner, whose statistics of a growing day are old, may read the whole day. This way the statement
-- also reads no other rows of the worker.
WITH input AS MATERIALIZED (
  SELECT id, attempt, verb, delay_ms, reason, error, result, progress
  FROM unnest($2::uuid[], $3::int[], $4::text[], $5::float8[], $6::text[], $7::json[], $8::json[], $11::json[])
    AS i (id, attempt, verb, delay_ms, reason, error, result, progress)
), held AS MATERIALIZED (
  SELECT t.id, i.attempt, i.delay_ms, i.reason, i.error, i.result, i.progress,
         CASE WHEN i.verb <> 'complete' AND t.cancel_requested_at IS NOT NULL THEN 'abort' ELSE i.verb END AS verb
  FROM (SELECT id, attempt, verb, delay_ms, reason, error, result, progress FROM input ORDER BY id) i
  CROSS JOIN LATERAL (
    SELECT t.id, t.status, t.attempt, t.worker_id, t.cancel_requested_at
    FROM tasks t
    WHERE t.id = i.id AND t.id >= ALL (ARRAY[$9::uuid]) AND t.id <= ALL (ARRAY[$10::uuid])
    LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS t
  WHERE t.status = 'PROCESSING' AND t.attempt = i.attempt AND t.worker_id = $1::text
), settled AS (
  UPDATE tasks t
  SET status = CASE h.verb
                 WHEN 'complete' THEN 'COMPLETED'
                 WHEN 'retry' THEN 'SCHEDULED'
                 WHEN 'fail' THEN 'FAILED'
                 WHEN 'abort' THEN 'CANCELLED'
                 WHEN 'release' THEN 'PENDING'
               END::task_status,
      failures = t.failures + (h.verb IN ('retry', 'fail'))::int,
      run_at = CASE h.verb
                 WHEN 'retry' THEN clock_timestamp() + h.delay_ms * interval '1 millisecond'
                 WHEN 'release' THEN clock_timestamp()
                 ELSE t.run_at
               END,
      worker_id = NULL,
      progress = coalesce(h.progress, t.progress),
      finished_at = CASE WHEN h.verb IN ('complete', 'fail', 'abort') THEN clock_timestamp() END
  FROM held h
  WHERE t.id = ANY (ARRAY[h.id]) AND t.id >= ALL (ARRAY[$9::uuid]) AND t.id <= ALL (ARRAY[$10::uuid])
  RETURNING t.id, h.attempt, h.verb, h.reason, h.error, h.result, t.queue, t.action, t.priority
), logged AS (
  UPDATE execution_logs l
  SET finished_at = clock_timestamp(),
      outcome = CASE s.verb
                  WHEN 'complete' THEN 'COMPLETED'
                  WHEN 'retry' THEN 'RETRIED'
                  WHEN 'fail' THEN 'FAILED'
                  WHEN 'abort' THEN 'CANCELLED'
                  WHEN 'release' THEN 'RELEASED'
                END::attempt_outcome,
      error = s.error,
      result = s.result
  FROM settled s
  WHERE l.task_id = ANY (ARRAY[s.id]) AND l.attempt = ANY (ARRAY[s.attempt])
    AND l.task_id >= ALL (ARRAY[$9::uuid]) AND l.task_id <= ALL (ARRAY[$10::uuid])
), buried AS (
  INSERT INTO dlq (task_id, attempt, queue, action, priority, reason, errors, failed_at)
  SELECT s.id, s.attempt, s.queue, s.action, s.priority, s.reason,
         (SELECT json_agg(json_build_object('attempt', e.attempt, 'worker_id', e.worker_id, 'outcome', e.outcome,
                                            'at', e.at, 'error', e.error) ORDER BY e.attempt)
          FROM (SELECT l.attempt, l.worker_id, l.outcome::text, l.finished_at AS at, l.error
                FROM execution_logs l
                WHERE l.task_id = s.id AND l.task_id >= ALL (ARRAY[$9::uuid]) AND l.task_id <= ALL (ARRAY[$10::uuid])
                  AND l.attempt < s.attempt AND l.outcome IN ('RETRIED', 'FAILED', 'LOST')
                UNION ALL
                SELECT s.attempt, $1::text, 'FAILED', clock_timestamp(), s.error) AS e),
         clock_timestamp()
  FROM settled s
  WHERE s.verb = 'fail'
)
SELECT i.id, i.attempt,
       CASE
         WHEN h.id IS NOT NULL THEN 'settled'
         WHEN l.worker_id = $1::text AND l.outcome <> 'LOST' THEN 'already'
         WHEN o.id IS NOT NULL THEN 'locked'
         ELSE 'stale'
       END AS verdict,
       coalesce(h.verb,
                CASE l.outcome
                  WHEN 'COMPLETED' THEN 'complete'
                  WHEN 'RETRIED' THEN 'retry'
                  WHEN 'FAILED' THEN 'fail'
                  WHEN 'CANCELLED' THEN 'abort'
                  WHEN 'RELEASED' THEN 'release'
                END) AS verb
FROM input i
LEFT JOIN held h ON h.id = i.id AND h.attempt = i.attempt
LEFT JOIN LATERAL (
  SELECT e.worker_id, e.outcome
  FROM execution_logs e
  WHERE h.id IS NULL AND e.task_id = i.id AND e.attempt = i.attempt
    AND e.task_id >= ALL (ARRAY[$9::uuid]) AND e.task_id <= ALL (ARRAY[$10::uuid])
  LIMIT 1
) AS l ON true
LEFT JOIN LATERAL (
  SELECT t.id
  FROM tasks t
  WHERE h.id IS NULL AND t.id = i.id AND t.id >= ALL (ARRAY[$9::uuid]) AND t.id <= ALL (ARRAY[$10::uuid])
    AND t.status = 'PROCESSING' AND t.attempt = i.attempt AND t.worker_id = $1::text
  LIMIT 1
) AS o ON true
