-- name: cancel
-- args: $1 id uuid
-- returns: no row for an unknown task, otherwise verdict text (cancelled: it waited and is now CANCELLED |
--          requested: it is PROCESSING, and its worker has to be told | already: it was CANCELLED before |
--          finished: it is COMPLETED or FAILED), status text, queue text, priority smallint, place_ms bigint
-- The row lock serializes this statement with a start of the same task.
-- If this statement waited for the lock, PostgreSQL first checks constraints on the row version of the snapshot, and only
-- then on the new version. Every column of a CHECK is therefore set from the row that was locked.
WITH held AS MATERIALIZED (
  SELECT id, status, worker_id, queue, priority, place_ms
  FROM tasks
  WHERE id = $1::uuid
  FOR NO KEY UPDATE
), cancelled AS (
  UPDATE tasks t
  SET status = CASE h.status WHEN 'PROCESSING' THEN h.status ELSE 'CANCELLED' END,
      worker_id = h.worker_id,
      cancel_requested_at = coalesce(t.cancel_requested_at, clock_timestamp()),
      finished_at = CASE WHEN h.status <> 'PROCESSING' THEN clock_timestamp() END
  FROM held h
  WHERE t.id = $1::uuid AND h.status IN ('PENDING', 'SCHEDULED', 'PROCESSING')
  RETURNING t.status
)
SELECT CASE h.status
         WHEN 'PROCESSING' THEN 'requested'
         WHEN 'CANCELLED' THEN 'already'
         WHEN 'COMPLETED' THEN 'finished'
         WHEN 'FAILED' THEN 'finished'
         ELSE 'cancelled'
       END AS verdict,
       coalesce(c.status, h.status)::text AS status, h.queue, h.priority, h.place_ms
FROM held h
LEFT JOIN cancelled c ON true
