-- name: create-client
-- args: $1 name text, $2 terms jsonb with the columns of the client as members, $3 secret_id text, $4 hash bytea
-- returns: name text; no row if the name is taken, also by a revoked client
WITH created AS (
  INSERT INTO clients (name, scopes, queues, actions, rate_per_minute, burst, unfinished_max, delay_max_ms,
                       timeout_max_ms, note, expires_at)
  SELECT $1::text, t.scopes, t.queues, t.actions, t.rate_per_minute, t.burst, t.unfinished_max, t.delay_max_ms,
         t.timeout_max_ms, t.note, t.expires_at
  FROM jsonb_to_record($2::jsonb) AS t (scopes text[], queues text[], actions text[], rate_per_minute integer,
                                        burst integer, unfinished_max integer, delay_max_ms bigint,
                                        timeout_max_ms bigint, note text, expires_at timestamptz)
  ON CONFLICT (name) DO NOTHING
  RETURNING name
), secret AS (
  INSERT INTO client_secrets (id, client, hash) SELECT $3::text, name, $4::bytea FROM created
), changed AS (
  UPDATE clients_version SET version = version + 1 + floor(random() * 1000000)::bigint WHERE EXISTS (SELECT FROM created)
)
SELECT name FROM created
