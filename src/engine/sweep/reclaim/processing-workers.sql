-- name: processing-workers
-- args: none
-- returns: worker_id text of each worker that a PROCESSING row names, once
-- Jumps from worker to worker in the index instead of reading every row.
WITH RECURSIVE workers AS (
  (SELECT worker_id FROM tasks WHERE status = 'PROCESSING' ORDER BY worker_id LIMIT 1)
  UNION ALL
  SELECT (SELECT t.worker_id
          FROM tasks t
          WHERE t.status = 'PROCESSING' AND t.worker_id > w.worker_id
          ORDER BY t.worker_id
          LIMIT 1)
  FROM workers w
  WHERE w.worker_id IS NOT NULL
)
SELECT worker_id FROM workers WHERE worker_id IS NOT NULL
