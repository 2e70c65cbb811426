-- name: processing-workers
-- args: none
-- returns: worker_id text of each worker that a PROCESSING row names, once
-- Jumps from worker to worker in the index instead of reading every row.
WITH RECURSIVE workers AS (
  (SELECT worker_id FROM unfinished WHERE status = 'PROCESSING' ORDER BY worker_id LIMIT 1)
  UNION ALL
  SELECT (SELECT u.worker_id
          FROM unfinished u
          WHERE u.status = 'PROCESSING' AND u.worker_id > w.worker_id
          ORDER BY u.worker_id
          LIMIT 1)
  FROM workers w
  WHERE w.worker_id IS NOT NULL
)
SELECT worker_id FROM workers WHERE worker_id IS NOT NULL
