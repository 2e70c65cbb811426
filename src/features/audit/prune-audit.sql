-- name: prune-audit
-- args: $1 holder text, $2 pass bigint, $3 retention_ms float8, $4 most int
-- returns: deleted int: number of rows of the audit log that were deleted
WITH old AS MATERIALIZED (
  SELECT id
  FROM audit
  WHERE at < now() - $3::float8 * interval '1 millisecond'
    AND EXISTS (SELECT FROM sweeper s WHERE s.id = 1 AND s.holder = $1::text AND s.pass = $2::bigint AND s.until > clock_timestamp())
  ORDER BY at, audit.id
  LIMIT $4::int
  FOR UPDATE SKIP LOCKED
), deleted AS (
  DELETE FROM audit a
  WHERE a.id = ANY (ARRAY(SELECT id FROM old))
  RETURNING a.id
)
SELECT count(*)::int AS deleted FROM deleted
