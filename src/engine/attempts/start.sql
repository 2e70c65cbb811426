-- name: start
-- args: $1 ids uuid[] in the order of the claim, $2 worker text, $3 lost_cap int,
--       $4 suspect_allowed bool (the worker runs no task that is one loss short of the cap),
--       $5 least uuid, $6 greatest uuid of the ids: with `ALL (ARRAY[…])` the planner leaves out the
--       partitions of other days, and does not consider scanning the index between the two bounds
-- returns: a row for every id, in any order: id uuid, verdict text
--          (started | early | locked | paused | solo | gone), wait_ms float8 (early), and of a
--          started task queue, action, payload, priority, group, place_ms, execution_time, attempt,
--          failures, lost, max_retries, backoff, timeout_ms, metadata, trace_id, traceparent, waited_ms float8
-- No id may occur twice.
-- All starts of a batch have the same start time; `ordinal` keeps their order.
-- The submission is looked up before the verdict: a task whose submission is gone must not become PROCESSING.
-- LATERAL, and `= ANY (ARRAY[…])` in the join of the UPDATE, make PostgreSQL find each row by its primary key, in id
-- order, whatever size the planner expects of the table. With `=` it may read the whole table, and so it may with EXISTS
-- in the result.
-- The result is not sorted, because sorting copies every payload. `date_part` computes with floats, `extract` with numerics.
WITH asked AS MATERIALIZED (
  SELECT id, ordinal::int FROM unnest($1::uuid[]) WITH ORDINALITY AS a (id, ordinal)
), held AS MATERIALIZED (
  SELECT u.id, a.ordinal, u.run_at, u.run_at <= clock_timestamp() AS due, coalesce(q.paused, false) AS paused,
         u.lost >= $3::int - 1 AS suspect
  FROM (SELECT id, ordinal FROM asked ORDER BY id) a
  CROSS JOIN LATERAL (
    SELECT u.id, u.status, u.run_at, u.lost, u.queue
    FROM unfinished u
    WHERE u.id = a.id
    LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS u
  LEFT JOIN queues q ON q.name = u.queue
  WHERE u.status IN ('PENDING', 'SCHEDULED')
), asked_for AS MATERIALIZED (
  SELECT h.id, h.ordinal, h.run_at, h.due, h.paused, h.suspect, s.action, s.payload, s."group", s.execution_time,
         s.max_retries, s.backoff, s.timeout_ms, s.metadata, s.trace_id, s.traceparent
  FROM held h
  CROSS JOIN LATERAL (
    SELECT s.action, s.payload, s."group", s.execution_time, s.max_retries, s.backoff, s.timeout_ms, s.metadata,
           s.trace_id, s.traceparent
    FROM submissions s
    WHERE s.id = h.id AND s.id >= ALL (ARRAY[$5::uuid]) AND s.id <= ALL (ARRAY[$6::uuid])
    LIMIT 1
  ) AS s
), judged AS MATERIALIZED (
  SELECT id, ordinal, run_at, action, payload, "group", execution_time, max_retries, backoff, timeout_ms, metadata,
         trace_id, traceparent,
         CASE
           WHEN paused THEN 'paused'
           WHEN NOT due THEN 'early'
           WHEN suspect AND (NOT $4::bool OR ordinal > min(ordinal) FILTER (WHERE suspect AND due AND NOT paused) OVER ())
             THEN 'solo'
           ELSE 'started'
         END AS verdict
  FROM asked_for
), started AS (
  UPDATE unfinished u
  SET status = 'PROCESSING', attempt = u.attempt + 1, worker_id = $2::text, ordinal = j.ordinal,
      started_at = statement_timestamp(), progress = NULL
  FROM judged j
  WHERE j.verdict = 'started' AND u.id = ANY (ARRAY[j.id])
  RETURNING u.id, u.queue, u.priority, u.place_ms, u.attempt, u.failures, u.lost, u.started_at, u.run_at,
            j.action, j.payload, j."group", j.execution_time, j.max_retries, j.backoff, j.timeout_ms, j.metadata,
            j.trace_id, j.traceparent
)
SELECT a.id,
       CASE
         WHEN j.id IS NOT NULL THEN j.verdict
         WHEN (SELECT u.status FROM unfinished u WHERE u.id = a.id) IN ('PENDING', 'SCHEDULED')
              AND (SELECT s.id
                   FROM submissions s
                   WHERE s.id = a.id AND s.id >= ALL (ARRAY[$5::uuid]) AND s.id <= ALL (ARRAY[$6::uuid])) IS NOT NULL
           THEN 'locked'
         ELSE 'gone'
       END AS verdict,
       CASE j.verdict
         WHEN 'early' THEN greatest(0, ceil(date_part('epoch', j.run_at - clock_timestamp()) * 1000))
       END AS wait_ms,
       s.queue, s.action, s.payload, s.priority, s."group", s.place_ms, s.execution_time, s.attempt, s.failures,
       s.lost, s.max_retries, s.backoff, s.timeout_ms, s.metadata, s.trace_id, s.traceparent,
       greatest(0, date_part('epoch', s.started_at - s.run_at) * 1000) AS waited_ms
FROM asked a
LEFT JOIN judged j ON j.id = a.id
LEFT JOIN started s ON s.id = a.id
