-- name: ensure-queue
-- args: $1 name text, $2 most queues int
-- returns: name text if the queue exists afterwards; no row if that many exist already
WITH made AS (
  INSERT INTO queues (name)
  SELECT $1::text
  WHERE (SELECT count(*) FROM queues) < $2::int AND NOT EXISTS (SELECT FROM queues WHERE name = $1::text)
  ON CONFLICT (name) DO NOTHING
  RETURNING name
)
SELECT name FROM made
UNION
SELECT name FROM queues WHERE name = $1::text
