-- name: start
-- args: $1 ids uuid[] in the order of the claim, $2 worker text, $3 lost_cap int,
--       $4 suspect_allowed bool (the worker runs no task that is one loss short of the cap),
--       $5 least uuid, $6 greatest uuid of the ids: with `ALL (ARRAY[…])` the planner leaves out the
--       partitions of other days, and does not consider scanning the index between the two bounds
-- returns: a row for every id, in the given order: id uuid, verdict text
--          (started | early | locked | paused | solo | gone), wait_ms float8 (early), and of a
--          started task queue, action, payload, priority, place_ms, execution_time, attempt, failures,
--          lost, max_retries, backoff, timeout_ms, metadata, trace_id, traceparent, waited_ms float8
-- No id may occur twice.
-- All starts of a batch have the same start time; execution_logs.ordinal keeps their order.
-- LATERAL, and `= ANY (ARRAY[…])` in the join of the UPDATE, make PostgreSQL find each row by its primary key, in id
-- order, whatever size the planner expects of the table. With `=` it may read the whole table.
WITH asked AS MATERIALIZED (
  SELECT id, ordinal::int FROM unnest($1::uuid[]) WITH ORDINALITY AS a (id, ordinal)
), held AS MATERIALIZED (
  SELECT t.id, a.ordinal, t.run_at, t.run_at <= clock_timestamp() AS due, coalesce(q.paused, false) AS paused,
         t.lost >= $3::int - 1 AS suspect
  FROM (SELECT id, ordinal FROM asked ORDER BY id) a
  CROSS JOIN LATERAL (
    SELECT t.id, t.status, t.run_at, t.lost, t.queue
    FROM tasks t
    WHERE t.id = a.id AND t.id >= ALL (ARRAY[$5::uuid]) AND t.id <= ALL (ARRAY[$6::uuid])
    LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS t
  LEFT JOIN queues q ON q.name = t.queue
  WHERE t.status IN ('PENDING', 'SCHEDULED')
), judged AS MATERIALIZED (
  SELECT id, ordinal, run_at,
         CASE
           WHEN paused THEN 'paused'
           WHEN NOT due THEN 'early'
           WHEN suspect AND (NOT $4::bool OR ordinal > min(ordinal) FILTER (WHERE suspect AND due AND NOT paused) OVER ())
             THEN 'solo'
           ELSE 'started'
         END AS verdict
  FROM held
), started AS (
  UPDATE tasks t
  SET status = 'PROCESSING', attempt = t.attempt + 1, worker_id = $2::text, started_at = statement_timestamp(), progress = NULL
  FROM judged j
  WHERE j.verdict = 'started' AND t.id = ANY (ARRAY[j.id])
    AND t.id >= ALL (ARRAY[$5::uuid]) AND t.id <= ALL (ARRAY[$6::uuid])
  RETURNING t.id, j.ordinal, t.queue, t.action, t.payload, t.priority, t.place_ms, t.execution_time, t.attempt, t.failures, t.lost,
            t.max_retries, t.backoff, t.timeout_ms, t.metadata, t.trace_id, t.traceparent, t.started_at, t.run_at
), logged AS (
  INSERT INTO execution_logs (task_id, attempt, worker_id, started_at, ordinal)
  SELECT id, attempt, $2::text, started_at, ordinal FROM started
)
SELECT a.id,
       CASE
         WHEN j.id IS NOT NULL THEN j.verdict
         WHEN (SELECT t.status
               FROM tasks t
               WHERE t.id = a.id AND t.id >= ALL (ARRAY[$5::uuid]) AND t.id <= ALL (ARRAY[$6::uuid])) IN ('PENDING', 'SCHEDULED')
           THEN 'locked'
         ELSE 'gone'
       END AS verdict,
       greatest(0, ceil(extract(epoch FROM j.run_at - clock_timestamp()) * 1000))::float8 AS wait_ms,
       s.queue, s.action, s.payload, s.priority, s.place_ms, s.execution_time, s.attempt, s.failures, s.lost,
       s.max_retries, s.backoff, s.timeout_ms, s.metadata, s.trace_id, s.traceparent,
       greatest(0, extract(epoch FROM s.started_at - s.run_at) * 1000)::float8 AS waited_ms
FROM asked a
LEFT JOIN judged j ON j.id = a.id
LEFT JOIN started s ON s.id = a.id
ORDER BY a.ordinal
