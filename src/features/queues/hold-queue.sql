-- name: hold-queue
-- args: $1 name text
-- returns: held bool; no row for an unknown queue
-- Locks the row of a queue that is to be deleted. It waits for nobody: a submission that is under way holds it, and then it is in use.
WITH held AS MATERIALIZED (
  SELECT name FROM queues WHERE name = $1::text FOR UPDATE SKIP LOCKED
)
SELECT EXISTS (SELECT FROM held) AS held FROM queues WHERE name = $1::text
