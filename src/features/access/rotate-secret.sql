-- name: rotate-secret
-- args: $1 client text, $2 secret_id text, $3 hash bytea, $4 overlap_ms float8
-- returns: id text of the new secret; no row if two secrets would stay valid beside it
-- Adds a secret, and lets the others end after the overlap, unless they end earlier. Forgets secrets that ended a week ago;
-- until then, a request with one of them is told that it has expired.
WITH live AS (
  SELECT id FROM client_secrets WHERE client = $1::text AND (expires_at IS NULL OR expires_at > clock_timestamp())
), allowed AS (
  SELECT FROM live HAVING count(*) < 2 OR $4::float8 = 0
), ended AS (
  UPDATE client_secrets s
  SET expires_at = least(s.expires_at, clock_timestamp() + $4::float8 * interval '1 millisecond')
  FROM live
  WHERE s.id = live.id AND EXISTS (SELECT FROM allowed)
), forgotten AS (
  DELETE FROM client_secrets WHERE client = $1::text AND expires_at < clock_timestamp() - interval '7 days'
), added AS (
  INSERT INTO client_secrets (id, client, hash) SELECT $2::text, $1::text, $3::bytea FROM allowed RETURNING id
), changed AS (
  UPDATE clients_version SET version = version + 1 + floor(random() * 1000000)::bigint WHERE EXISTS (SELECT FROM added)
)
SELECT id FROM added
