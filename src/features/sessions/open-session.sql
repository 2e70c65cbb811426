-- name: open-session
-- args: $1 hash bytea, $2 id uuid, $3 client text, $4 secret_id text, $5 secret_hash bytea, $6 grant_name text, $7 address text,
--       $8 ttl_ms float8, $9 most int: sessions that the client may have
-- returns: expires_at timestamptz, ended_ids text[] and ended_hashes text[] (hexadecimal) of the sessions that ended for it
-- The oldest sessions of the client end if there would be too many. Runs after hold-sessions in the same transaction.
WITH ended AS (
  DELETE FROM sessions
  WHERE hash = ANY (ARRAY(
    SELECT s.hash FROM sessions s WHERE s.client = $3::text ORDER BY s.created_at DESC, s.id DESC OFFSET $9::int - 1
  ))
  RETURNING id, hash
), opened AS (
  INSERT INTO sessions (hash, id, client, secret_id, secret_hash, grant_name, address, expires_at)
  VALUES ($1::bytea, $2::uuid, $3::text, $4::text, $5::bytea, $6::text, $7::text,
          clock_timestamp() + $8::float8 * interval '1 millisecond')
  RETURNING expires_at
)
SELECT expires_at,
       ARRAY(SELECT id::text FROM ended ORDER BY id) AS ended_ids,
       ARRAY(SELECT encode(hash, 'hex') FROM ended ORDER BY id) AS ended_hashes
FROM opened
