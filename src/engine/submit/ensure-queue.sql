-- name: ensure-queue
-- args: $1 name text, $2 most queues int, $3 created_by text (null: nobody known), $4 most queues of one creator int (0: any number)
-- returns: verdict text: `exists` if the queue exists afterwards, `total` or `client` for the bound that keeps it from being made,
--          `again` if somebody else has made it meanwhile, which a second look sees
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
