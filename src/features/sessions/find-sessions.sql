-- name: find-sessions
-- args: $1 hashes bytea[]
-- returns: for each session that has not ended: hash text and secret_hash text (hexadecimal), id uuid, client text,
--          secret_id text, grant_name text, expires_at timestamptz, ends_in_ms float8
-- Notes the uses, at most once a minute for each session. It waits for no other statement: sessions whose use another
-- process is noting, or that are being ended, are only read.
WITH due AS (
  SELECT s.hash, clock_timestamp() AS at
  FROM sessions s
  WHERE s.hash = ANY ($1::bytea[]) AND s.used_at < clock_timestamp() - interval '1 minute'
  ORDER BY s.hash
  FOR NO KEY UPDATE SKIP LOCKED
), noted AS (
  UPDATE sessions s SET used_at = due.at FROM due WHERE s.hash = due.hash
)
SELECT encode(s.hash, 'hex') AS hash, encode(s.secret_hash, 'hex') AS secret_hash, s.id, s.client, s.secret_id, s.grant_name,
       s.expires_at, extract(epoch FROM s.expires_at - clock_timestamp())::float8 * 1000 AS ends_in_ms
FROM sessions s
WHERE s.hash = ANY ($1::bytea[]) AND s.expires_at > clock_timestamp()
