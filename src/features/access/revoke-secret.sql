-- name: revoke-secret
-- args: $1 client text, $2 secret_id text
-- returns: id text; no row if the client has no such secret
WITH revoked AS (
  DELETE FROM client_secrets WHERE client = $1::text AND id = $2::text RETURNING id
), changed AS (
  UPDATE clients_version SET version = version + 1 + floor(random() * 1000000)::bigint WHERE EXISTS (SELECT FROM revoked)
)
SELECT id FROM revoked
