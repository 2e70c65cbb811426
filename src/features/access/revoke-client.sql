-- name: revoke-client
-- args: $1 name text
-- returns: name text; no row for an unknown client
-- The row stays with its name. The time of the first revocation counts.
WITH revoked AS (
  UPDATE clients SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE name = $1::text RETURNING name
), ended AS (
  DELETE FROM client_secrets WHERE client = $1::text
), changed AS (
  UPDATE clients_version SET version = version + 1 + floor(random() * 1000000)::bigint WHERE EXISTS (SELECT FROM revoked)
)
SELECT name FROM revoked
