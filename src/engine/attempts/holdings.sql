-- name: holdings
-- args: $1 worker text
-- returns: id uuid, attempt int, cancel_requested bool, queue text, priority smallint, place_ms bigint, trace_id text
--          ('' if the submission is missing) of every task that the worker processes
SELECT u.id, u.attempt, u.cancel_requested_at IS NOT NULL AS cancel_requested, u.queue, u.priority, u.place_ms,
       coalesce(s.trace_id, '') AS trace_id
FROM unfinished u
LEFT JOIN LATERAL (SELECT s.trace_id FROM submissions s WHERE s.id = u.id LIMIT 1) AS s ON true
WHERE u.worker_id = $1::text AND u.status = 'PROCESSING'
