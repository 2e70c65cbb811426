-- name: prune-keys
-- args: $1 holder text, $2 pass bigint, $3 most int
-- returns: deleted int: number of expired idempotency keys that were deleted
WITH expired AS MATERIALIZED (
  SELECT client, queue, key
  FROM idempotency_keys
  WHERE expires_at < now()
    AND EXISTS (SELECT FROM sweeper s WHERE s.id = 1 AND s.holder = $1::text AND s.pass = $2::bigint AND s.until > clock_timestamp())
  ORDER BY expires_at
  LIMIT $3::int
  FOR UPDATE SKIP LOCKED
), deleted AS (
  DELETE FROM idempotency_keys k
  USING expired e
  WHERE k.client = e.client AND k.queue = e.queue AND k.key = e.key
  RETURNING k.key
)
SELECT count(*)::int AS deleted FROM deleted
