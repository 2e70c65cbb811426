-- name: hold-queue
-- args: $1 name text
-- returns: held bool; no row for an unknown queue
-- Locks the row of a queue that is to be deleted, without waiting. A running submission also locks the row; held is
-- then false, and the queue is in use.
WITH held AS MATERIALIZED (
  SELECT name FROM queues WHERE name = $1::text FOR UPDATE SKIP LOCKED
)
SELECT EXISTS (SELECT FROM held) AS held FROM queues WHERE name = $1::text
