-- name: requeue
-- args: $1 task_id uuid (null: any), $2 after_id uuid, $3 after_attempt int: only dead letters after that one,
--       $4 look int: most dead letters to look at, $5 queue text, $6 action text, $7 reason text,
--       $8 failed_after timestamptz, $9 failed_before timestamptz, $10 error_contains text (each null: any), $11 most int,
--       $12 place text (keep | back), $13 base_ms float8: start of the whole requeue by PostgreSQL's clock (null: now),
--       $14 spacing_ms float8 between two tasks (null: all at once), $15 offset int: number of tasks requeued before,
--       who requeues (see `actorValues`): $16 audit_id uuid, $17 client text, $18 address text, $19 trace_id text,
--       $20 details json: what the audit log says of a requeue by filter,
--       $21 visible text: regular expression of the queues whose dead letters may be requeued (null: all),
--       $22 stacks boolean: whether the text of $10 may be in a stack trace
-- returns: a row for each of the first $11 open dead letters by (id, attempt) that match, and for the last of the $4
--          that were looked at: id uuid, attempt int, nth int8 (from 1, among those looked at), fits bool,
--          requeued bool, base_ms float8, and if requeued queue text, priority smallint, place_ms bigint, wait_ms float8.
--          A task that is no longer FAILED is not requeued.
-- LATERAL, and `= ANY (ARRAY[…])`, make PostgreSQL find rows by their primary key, in id order, instead of reading whole
-- days (see settle).
-- Stack traces name directories of the server, which not everybody may find by searching. Without $22, they and the frames
-- that a message quotes are taken out of the JSON text before the search. Both are found by their form, because a cast to
-- jsonb would fail for some texts that json allows.
-- For any arguments, the start is not in the future, and no task is delayed by more than 365 days, the longest delay of
-- a submission. Tasks sent to the back keep the order of their ids, also over several calls with the same base.
-- The audit log has one row for all calls with the same audit_id, which counts the tasks that they requeued.
WITH next AS (
  SELECT task_id, attempt, queue, action, reason, errors, failed_at, requeued_at
  FROM dlq
  WHERE ($1::uuid IS NULL OR task_id = $1::uuid) AND (task_id, attempt) > ($2::uuid, $3::int)
  ORDER BY task_id, attempt
  LIMIT $4::int
), looked AS (
  SELECT task_id, attempt, row_number() OVER (ORDER BY task_id, attempt) AS nth,
         (requeued_at IS NULL
         AND ($21::text IS NULL OR queue ~ $21::text)
         AND ($5::text IS NULL OR queue = $5::text)
         AND ($6::text IS NULL OR action = $6::text)
         AND ($7::text IS NULL OR reason = $7::text)
         AND ($8::timestamptz IS NULL OR failed_at >= $8::timestamptz)
         AND ($9::timestamptz IS NULL OR failed_at < $9::timestamptz)
         AND ($10::text IS NULL OR CASE
                WHEN strpos(errors::text, $10::text) = 0 THEN false
                WHEN $22::boolean THEN true
                ELSE strpos(regexp_replace(errors::text, '"stack"\s*:\s*"([^"\\]|\\.)*"|\\n(\\t|\s)*at ([^"\\]|\\[^n])*', '', 'g'), $10::text) > 0
              END)) IS TRUE AS fits
  FROM next
), matching AS MATERIALIZED (
  SELECT task_id, attempt, nth, fits
  FROM looked
  WHERE fits OR nth = $4::int
  ORDER BY task_id, attempt
  LIMIT $11::int
), held AS MATERIALIZED (
  SELECT f.id, f.attempt
  FROM (SELECT task_id, attempt FROM matching WHERE fits ORDER BY task_id, attempt) m
  CROSS JOIN LATERAL (
    SELECT f.id, f.status, f.attempt FROM finished f WHERE f.id = m.task_id LIMIT 1 FOR UPDATE
  ) AS f
  WHERE f.status = 'FAILED' AND f.attempt = m.attempt
), start AS MATERIALIZED (
  SELECT least(coalesce($13::float8, now_ms), now_ms) AS base_ms, now_ms + 365 * 86400000::float8 AS last_ms
  FROM (SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS now_ms) n
), planned AS MATERIALIZED (
  SELECT h.id, h.attempt,
         floor(least(s.last_ms, s.base_ms + coalesce($14::float8, 0) * ($15::int + row_number() OVER (ORDER BY h.id) - 1))) AS due_ms
  FROM held h, start s
), moved AS (
  DELETE FROM finished f
  USING planned p
  WHERE f.id = ANY (ARRAY[p.id])
  RETURNING f.id, f.place_ms, f.limited, f.notify, f.attempt, f.worker_id, f.ordinal, f.started_at, f.finished_at, f.outcome,
            f.error, f.result, p.due_ms
), logged AS (
  INSERT INTO attempts (task_id, attempt, worker_id, ordinal, started_at, finished_at, outcome, error, result)
  SELECT id, attempt, worker_id, ordinal, started_at, finished_at, outcome, error, result
  FROM moved
  WHERE worker_id IS NOT NULL
), requeued AS (
  INSERT INTO unfinished (id, queue, priority, place_ms, "group", limited, notify, keep_completed, status, run_at, attempt,
                          ordinal, started_at)
  SELECT m.id, s.queue, s.priority, CASE $12::text WHEN 'back' THEN m.due_ms::bigint ELSE m.place_ms END, s."group",
         m.limited, m.notify, s.keep_completed,
         CASE WHEN $14::float8 IS NULL THEN 'PENDING' ELSE 'SCHEDULED' END::task_status,
         -- run_at must not be in the past, because the watermark no longer covers that time.
         greatest(clock_timestamp(), to_timestamp(m.due_ms / 1000)), m.attempt, m.ordinal, m.started_at
  FROM moved m
  CROSS JOIN LATERAL (
    SELECT s.queue, s.priority, s."group", s.keep_completed FROM submissions s WHERE s.id = m.id LIMIT 1
  ) AS s
  ORDER BY m.id
  RETURNING id, attempt, queue, priority, place_ms, run_at
), closed AS (
  UPDATE dlq d
  SET requeued_at = clock_timestamp()
  FROM requeued r
  WHERE d.task_id = ANY (ARRAY[r.id]) AND d.attempt = ANY (ARRAY[r.attempt])
), audited AS (
  INSERT INTO audit AS a (id, client, address, trace_id, action, outcome, objects, details, count)
  SELECT $16::uuid, $17::text, $18::text, $19::text,
         CASE WHEN $1::uuid IS NULL THEN 'dlq.requeue' ELSE 'task.requeue' END, 'allowed',
         CASE WHEN $1::uuid IS NULL THEN '{}' ELSE ARRAY['task:' || $1::uuid, 'queue:' || min(queue)] END,
         $20::json, count(*)
  FROM requeued
  HAVING count(*) > 0
  ON CONFLICT (id) DO UPDATE SET count = a.count + excluded.count
)
SELECT m.task_id AS id, m.attempt, m.nth, m.fits, r.id IS NOT NULL AS requeued, s.base_ms, r.queue, r.priority, r.place_ms,
       greatest(0, ceil(extract(epoch FROM r.run_at - clock_timestamp()) * 1000))::float8 AS wait_ms
FROM matching m
CROSS JOIN start s
LEFT JOIN requeued r ON r.id = m.task_id AND r.attempt = m.attempt
ORDER BY m.task_id, m.attempt
