-- name: prune-sessions
-- args: $1 holder text, $2 pass bigint, $3 most int
-- returns: deleted int: number of sessions whose time is over that were deleted
WITH old AS MATERIALIZED (
  SELECT s.hash
  FROM sessions s
  WHERE s.expires_at < now()
    AND EXISTS (SELECT FROM sweeper w WHERE w.id = 1 AND w.holder = $1::text AND w.pass = $2::bigint AND w.until > clock_timestamp())
  ORDER BY s.expires_at
  LIMIT $3::int
  FOR UPDATE SKIP LOCKED
), deleted AS (
  DELETE FROM sessions s
  WHERE s.hash = ANY (ARRAY(SELECT hash FROM old))
  RETURNING s.hash
)
SELECT count(*)::int AS deleted FROM deleted
