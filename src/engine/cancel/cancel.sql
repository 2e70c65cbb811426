-- name: cancel
-- args: $1 id uuid, and who cancels (see `actorValues`): $2 audit_id uuid, $3 client text, $4 address text, $5 trace_id text
-- returns: no row for an unknown task, otherwise verdict text (cancelled: it waited and is now CANCELLED |
--          requested: it is PROCESSING, and its worker has to be told | already: it was CANCELLED before |
--          finished: it is COMPLETED or FAILED | again: it changed while this statement waited for its row, and the
--          statement has to be repeated), status text, queue text, priority smallint, place_ms bigint
-- The row lock serializes this statement with a start, a settle and a requeue of the same task. If one of them moved the
-- row meanwhile, this statement's snapshot does not show where it is now. Only a new statement does.
-- A cancel that changes something leaves a row in the audit log. A repeated one changes nothing, so it leaves none.
WITH held AS MATERIALIZED (
  SELECT id, status, queue, priority, place_ms, cancel_requested_at
  FROM unfinished
  WHERE id = $1::uuid
  FOR UPDATE
), requested AS (
  UPDATE unfinished u
  SET cancel_requested_at = coalesce(u.cancel_requested_at, clock_timestamp())
  FROM held h
  WHERE u.id = $1::uuid AND h.status = 'PROCESSING'
), ended AS (
  DELETE FROM unfinished u
  USING held h
  WHERE u.id = $1::uuid AND h.status <> 'PROCESSING'
  RETURNING u.id, u.place_ms, u.limited, u.notify, u.run_at, u.attempt, u.failures, u.lost, u.started_at,
            u.progress, coalesce(u.cancel_requested_at, clock_timestamp()) AS cancel_requested_at
), cancelled AS (
  INSERT INTO finished (id, status, place_ms, limited, notify, run_at, attempt, failures, lost, cancel_requested_at,
                        finished_at, started_at, progress)
  SELECT id, 'CANCELLED', place_ms, limited, notify, run_at, attempt, failures, lost, cancel_requested_at,
         clock_timestamp(), started_at, progress
  FROM ended
), audited AS (
  INSERT INTO audit (id, client, address, trace_id, action, outcome, objects)
  SELECT $2::uuid, $3::text, $4::text, $5::text, 'task.cancel', 'allowed', ARRAY['task:' || h.id, 'queue:' || h.queue]
  FROM held h
  WHERE h.status <> 'PROCESSING' OR h.cancel_requested_at IS NULL
  ON CONFLICT (id) DO NOTHING
)
SELECT CASE
         WHEN h.status = 'PROCESSING' THEN 'requested'
         WHEN h.id IS NOT NULL THEN 'cancelled'
         WHEN u.id IS NOT NULL THEN 'again'
         WHEN f.status = 'CANCELLED' THEN 'already'
         ELSE 'finished'
       END AS verdict,
       CASE
         WHEN h.status = 'PROCESSING' THEN 'PROCESSING'
         WHEN h.id IS NOT NULL THEN 'CANCELLED'
         ELSE coalesce(f.status::text, 'COMPLETED')
       END AS status,
       s.queue, s.priority, coalesce(h.place_ms, f.place_ms, 0) AS place_ms
FROM submissions s
LEFT JOIN held h ON true
LEFT JOIN (SELECT id FROM unfinished WHERE id = $1::uuid) AS u ON true
LEFT JOIN (SELECT id, status, place_ms FROM finished WHERE id = $1::uuid) AS f ON true
WHERE s.id = $1::uuid
