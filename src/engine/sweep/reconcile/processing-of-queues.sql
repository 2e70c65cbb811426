-- name: processing-of-queues
-- args: $1 queues text[] (null: all), $2 after_worker text, $3 after_id uuid, $4 most int
-- returns: PROCESSING tasks by (worker_id, id), at most $4: id uuid, queue text, priority smallint, place_ms bigint,
--          worker_id text
SELECT id, queue, priority, place_ms, worker_id
FROM unfinished
WHERE status = 'PROCESSING' AND (worker_id, id) > ($2::text, $3::uuid) AND ($1::text[] IS NULL OR queue = ANY ($1::text[]))
ORDER BY worker_id, id
LIMIT $4::int
