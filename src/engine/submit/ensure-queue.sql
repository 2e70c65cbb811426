-- name: ensure-queue
-- args: $1 name text, $2 most queues int, $3 created_by text (null: unknown),
--       $4 most queues of one creator int (0: no limit)
-- returns: verdict text: `exists` if the queue exists afterwards; `total` or `client` if that limit prevented its creation;
--          `again` if another transaction has created the queue meanwhile, so that only a second call sees it
WITH counted AS MATERIALIZED (
  SELECT count(*) >= $2::int AS full_up,
         $4::int > 0 AND count(*) FILTER (WHERE created_by = $3::text) >= $4::int AS own_full_up
  FROM queues
), found AS MATERIALIZED (
  SELECT name FROM queues WHERE name = $1::text
), made AS (
  INSERT INTO queues (name, created_by)
  SELECT $1::text, $3::text
  FROM counted
  WHERE NOT full_up AND NOT own_full_up AND NOT EXISTS (SELECT FROM found)
  ON CONFLICT (name) DO NOTHING
  RETURNING name
)
SELECT CASE
         WHEN EXISTS (SELECT FROM found) OR EXISTS (SELECT FROM made) THEN 'exists'
         WHEN full_up THEN 'total'
         WHEN own_full_up THEN 'client'
         ELSE 'again'
       END AS verdict
FROM counted
