-- name: unsettled-verdicts
-- args: $1 worker text, $2 ids uuid[], $3 attempts int[], $4 verbs text[] (complete | retry | fail | release),
--       $5 least uuid, $6 greatest uuid of the ids: with `ALL (ARRAY[…])` the planner leaves out the
--       partitions of other days, and does not consider scanning the index between the two bounds
-- returns: a row for every (id, attempt): id uuid, attempt int, verdict text (already | locked | stale),
--          verb text (already: the verb that was written before)
-- Why settle.sql did not write these outcomes. A statement of its own sees what others have committed since settle.sql
-- began, for example the same outcome whose answer was lost. Nearly all outcomes are written, so settle.sql is cheaper
-- without these look-ups.
-- `locked`: the worker still holds the attempt, because another transaction locked the row; the worker has to ask again.
-- A completed task whose queue does not keep such tasks has no row of that attempt, so its outcome is `already`.
-- A task that was cancelled while it waited is finished without a worker. The row of its last attempt is in `attempts`.
-- LATERAL makes PostgreSQL find each row by its primary key.
SELECT i.id, i.attempt,
       CASE
         WHEN l.worker_id = $1::text AND l.outcome <> 'LOST' THEN 'already'
         WHEN o.id IS NOT NULL AND o.status = 'PROCESSING' AND o.attempt = i.attempt AND o.worker_id = $1::text THEN 'locked'
         WHEN o.id IS NULL AND l.id IS NULL AND s.id IS NOT NULL AND i.verb = 'complete' THEN 'already'
         ELSE 'stale'
       END AS verdict,
       CASE
         WHEN l.worker_id = $1::text AND l.outcome <> 'LOST' THEN
           CASE l.outcome
             WHEN 'COMPLETED' THEN 'complete'
             WHEN 'RETRIED' THEN 'retry'
             WHEN 'FAILED' THEN 'fail'
             WHEN 'CANCELLED' THEN 'abort'
             WHEN 'RELEASED' THEN 'release'
           END
         WHEN o.id IS NULL AND l.id IS NULL AND s.id IS NOT NULL AND i.verb = 'complete' THEN 'complete'
       END AS verb
FROM unnest($2::uuid[], $3::int[], $4::text[]) AS i (id, attempt, verb)
LEFT JOIN LATERAL (
  SELECT u.id, u.status, u.attempt, u.worker_id FROM unfinished u WHERE u.id = i.id LIMIT 1
) AS o ON true
LEFT JOIN LATERAL (
  (SELECT f.id, f.worker_id, f.outcome
   FROM finished f
   WHERE f.id = i.id AND f.id >= ALL (ARRAY[$5::uuid]) AND f.id <= ALL (ARRAY[$6::uuid])
     AND f.attempt = i.attempt AND f.worker_id IS NOT NULL
   LIMIT 1)
  UNION ALL
  (SELECT a.task_id, a.worker_id, a.outcome
   FROM attempts a
   WHERE a.task_id = i.id AND a.attempt = i.attempt
     AND a.task_id >= ALL (ARRAY[$5::uuid]) AND a.task_id <= ALL (ARRAY[$6::uuid])
   LIMIT 1)
  LIMIT 1
) AS l ON true
LEFT JOIN LATERAL (
  SELECT s.id
  FROM submissions s
  WHERE o.id IS NULL AND l.id IS NULL AND s.id = i.id AND NOT s.keep_completed
    AND s.id >= ALL (ARRAY[$5::uuid]) AND s.id <= ALL (ARRAY[$6::uuid])
    AND (SELECT f.id
         FROM finished f
         WHERE f.id = i.id AND f.id >= ALL (ARRAY[$5::uuid]) AND f.id <= ALL (ARRAY[$6::uuid])) IS NULL
  LIMIT 1
) AS s ON true
