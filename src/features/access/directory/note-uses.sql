-- name: note-uses
-- args: $1 secret_ids text[], $2 ages_ms float8[], for how long each secret has not been used
-- returns: nothing
-- Every API process calls this once a minute. Secrets whose use another process has just noted, or is noting, are left out.
WITH uses AS (
  SELECT s.id, clock_timestamp() - u.age_ms * interval '1 millisecond' AS used_at
  FROM unnest($1::text[], $2::float8[]) AS u (id, age_ms)
  JOIN client_secrets s ON s.id = u.id
  WHERE s.last_used_at IS NULL OR s.last_used_at < clock_timestamp() - u.age_ms * interval '1 millisecond' - interval '30 seconds'
  ORDER BY s.id
  FOR NO KEY UPDATE OF s SKIP LOCKED
)
UPDATE client_secrets s SET last_used_at = uses.used_at FROM uses WHERE s.id = uses.id
