-- name: held-by-workers
-- args: $1 most_workers int, $2 most_counted int, $3 most_ids int,
--       $4 visible text: regular expression of the queues whose tasks count (null: all)
-- returns: worker_id text, held int, task_ids uuid[] (the oldest first) for each worker that a PROCESSING row names:
--          at most $1 workers, at most $2 counted rows of each, and at most $3 ids of each
-- Jumps from worker to worker in the index, and reads at most $2 rows of each worker.
WITH RECURSIVE workers AS (
  (SELECT worker_id, 1 AS nth FROM unfinished WHERE status = 'PROCESSING' ORDER BY worker_id LIMIT 1)
  UNION ALL
  SELECT (SELECT u.worker_id
          FROM unfinished u
          WHERE u.status = 'PROCESSING' AND u.worker_id > w.worker_id
          ORDER BY u.worker_id
          LIMIT 1),
         w.nth + 1
  FROM workers w
  WHERE w.worker_id IS NOT NULL AND w.nth < $1::int
)
SELECT w.worker_id, h.held, h.task_ids
FROM workers w
CROSS JOIN LATERAL (
  SELECT count(*)::int AS held, (array_agg(r.id ORDER BY r.id))[1:$3::int] AS task_ids
  FROM (
    SELECT u.id
    FROM unfinished u
    WHERE u.status = 'PROCESSING' AND u.worker_id = w.worker_id AND ($4::text IS NULL OR u.queue ~ $4::text)
    LIMIT $2::int
  ) AS r
) AS h
WHERE w.worker_id IS NOT NULL
