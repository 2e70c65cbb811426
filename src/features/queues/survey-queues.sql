-- name: survey-queues
-- args: $1 names text[], $2 after uuid, $3 most int
-- returns: looked int, last uuid (null if nothing was looked at), used text[]
-- Looks at the next $3 tasks by id, including finished ones, and returns the given queues that they belong to. There is
-- no index by queue, because it would slow down every submission.
WITH slice AS MATERIALIZED (
  SELECT id, queue
  FROM submissions
  WHERE id > $2::uuid
  ORDER BY id
  LIMIT $3::int
)
SELECT count(*)::int AS looked,
       (SELECT id FROM slice ORDER BY id DESC LIMIT 1) AS last,
       coalesce(array_agg(DISTINCT queue) FILTER (WHERE queue = ANY ($1::text[])), '{}') AS used
FROM slice
