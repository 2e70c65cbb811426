-- name: holdings
-- args: $1 worker text
-- returns: id uuid, attempt int, cancel_requested bool, queue text, priority smallint, place_ms bigint, trace_id text
--          of every row that the worker processes
SELECT id, attempt, cancel_requested_at IS NOT NULL AS cancel_requested, queue, priority, place_ms, trace_id
FROM tasks
WHERE worker_id = $1::text AND status = 'PROCESSING'
