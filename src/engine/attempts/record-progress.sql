-- name: record-progress
-- args: $1 worker text, $2 ids uuid[], $3 attempts int[], $4 progress json[]
-- returns: nothing; tasks that the worker no longer processes do not change
-- LATERAL, and `= ANY (ARRAY[…])`, make PostgreSQL find rows by their primary key, in id order, instead of comparing each
-- with all rows of the worker (see settle).
WITH held AS MATERIALIZED (
  SELECT u.id, i.progress
  FROM (SELECT id, attempt, progress
        FROM unnest($2::uuid[], $3::int[], $4::json[]) AS i (id, attempt, progress)
        ORDER BY id) i
  CROSS JOIN LATERAL (
    SELECT u.id, u.status, u.attempt, u.worker_id FROM unfinished u WHERE u.id = i.id LIMIT 1 FOR NO KEY UPDATE
  ) AS u
  WHERE u.status = 'PROCESSING' AND u.attempt = i.attempt AND u.worker_id = $1::text
)
UPDATE unfinished u
SET progress = h.progress
FROM held h
WHERE u.id = ANY (ARRAY[h.id])
