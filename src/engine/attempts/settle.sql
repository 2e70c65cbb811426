-- name: settle
-- args: $1 worker text, $2 ids uuid[], $3 attempts int[], $4 verbs text[] (complete | retry | fail | release),
--       $5 delays_ms float8[] (retry), $6 reasons text[] (fail), $7 errors json[], $8 results json[]; each of these
--       arrays may be null if all its elements are null,
--       $9 least uuid, $10 greatest uuid of the ids: with `ALL (ARRAY[…])` the planner leaves out the
--       partitions of other days, and does not consider scanning the index between the two bounds,
--       $11 progress json[] (a null leaves the row's progress as it is; the array may be null)
-- returns: a row for every outcome that was written: id uuid, attempt int, verb text (abort if a cancel request was pending)
-- An outcome is written only for the latest attempt, and only for the worker that runs it. What became of any other
-- outcome is the question of unsettled-verdicts.sql, which sees what was committed meanwhile.
-- The statement never waits for a lock: it leaves out a row that another transaction locks.
-- A task that ends moves from `unfinished` to `finished`, with its last attempt; any other attempt becomes a row of
-- `attempts`. A task whose queue does not keep completed tasks leaves `unfinished`, and nothing else is written.
-- LATERAL, and `= ANY (ARRAY[…])` in the joins of the UPDATEs, make PostgreSQL find each row by its primary key, in id
-- order. With `=` the planner, whose statistics of a growing day are old, may read the whole day. This way the statement
-- also reads no other rows of the worker.
WITH input AS MATERIALIZED (
  SELECT id, attempt, verb, delay_ms, reason, error, result, progress
  FROM unnest($2::uuid[], $3::int[], $4::text[], $5::float8[], $6::text[], $7::json[], $8::json[], $11::json[])
    AS i (id, attempt, verb, delay_ms, reason, error, result, progress)
), held AS MATERIALIZED (
  SELECT u.id, i.attempt, i.delay_ms, i.reason, i.error, i.result, i.progress,
         CASE WHEN i.verb <> 'complete' AND u.cancel_requested_at IS NOT NULL THEN 'abort' ELSE i.verb END AS verb
  FROM (SELECT id, attempt, verb, delay_ms, reason, error, result, progress FROM input ORDER BY id) i
  CROSS JOIN LATERAL (
    SELECT u.id, u.status, u.attempt, u.worker_id, u.cancel_requested_at
    FROM unfinished u
    WHERE u.id = i.id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
  ) AS u
  WHERE u.status = 'PROCESSING' AND u.attempt = i.attempt AND u.worker_id = $1::text
), ended AS (
  DELETE FROM unfinished u
  USING held h
  WHERE h.verb IN ('complete', 'fail', 'abort') AND u.id = ANY (ARRAY[h.id])
  RETURNING u.id, u.queue, u.priority, u.place_ms, u.limited, u.notify, u.keep_completed, u.run_at, u.attempt,
            u.failures + (h.verb = 'fail')::int AS failures, u.lost, u.cancel_requested_at, u.ordinal, u.started_at,
            coalesce(h.progress, u.progress) AS progress, h.verb, h.reason, h.error, h.result
), finished_now AS (
  INSERT INTO finished (id, status, place_ms, limited, notify, run_at, attempt, failures, lost, cancel_requested_at,
                        finished_at, worker_id, ordinal, started_at, outcome, error, result, progress)
  SELECT id,
         CASE verb WHEN 'complete' THEN 'COMPLETED' WHEN 'fail' THEN 'FAILED' ELSE 'CANCELLED' END::task_status,
         place_ms, limited, notify, run_at, attempt, failures, lost, cancel_requested_at, clock_timestamp(), $1::text,
         ordinal, started_at,
         CASE verb WHEN 'complete' THEN 'COMPLETED' WHEN 'fail' THEN 'FAILED' ELSE 'CANCELLED' END::attempt_outcome,
         error, result, progress
  FROM ended
  WHERE keep_completed OR verb <> 'complete'
), waiting AS (
  UPDATE unfinished u
  SET status = CASE h.verb WHEN 'retry' THEN 'SCHEDULED' ELSE 'PENDING' END::task_status,
      failures = u.failures + (h.verb = 'retry')::int,
      run_at = clock_timestamp() + coalesce(h.delay_ms, 0) * interval '1 millisecond',
      worker_id = NULL,
      progress = coalesce(h.progress, u.progress)
  FROM held h
  WHERE h.verb IN ('retry', 'release') AND u.id = ANY (ARRAY[h.id])
  RETURNING u.id, u.attempt, u.ordinal, u.started_at, h.verb, h.error, h.result
), logged AS (
  INSERT INTO attempts (task_id, attempt, worker_id, ordinal, started_at, finished_at, outcome, error, result)
  SELECT id, attempt, $1::text, ordinal, started_at, clock_timestamp(),
         CASE verb WHEN 'retry' THEN 'RETRIED' ELSE 'RELEASED' END::attempt_outcome, error, result
  FROM waiting
), buried AS (
  INSERT INTO dlq (task_id, attempt, queue, action, priority, reason, errors, failed_at)
  SELECT e.id, e.attempt, e.queue,
         (SELECT s.action
          FROM submissions s
          WHERE s.id = e.id AND s.id >= ALL (ARRAY[$9::uuid]) AND s.id <= ALL (ARRAY[$10::uuid])),
         e.priority, e.reason,
         (SELECT json_agg(json_build_object('attempt', a.attempt, 'worker_id', a.worker_id, 'outcome', a.outcome,
                                            'at', a.at, 'error', a.error) ORDER BY a.attempt)
          FROM (SELECT l.attempt, l.worker_id, l.outcome::text, l.finished_at AS at, l.error
                FROM attempts l
                WHERE l.task_id = e.id AND l.task_id >= ALL (ARRAY[$9::uuid]) AND l.task_id <= ALL (ARRAY[$10::uuid])
                  AND l.attempt < e.attempt AND l.outcome IN ('RETRIED', 'FAILED', 'LOST')
                UNION ALL
                SELECT e.attempt, $1::text, 'FAILED', clock_timestamp(), e.error) AS a),
         clock_timestamp()
  FROM ended e
  WHERE e.verb = 'fail'
)
SELECT id, attempt, verb FROM held
