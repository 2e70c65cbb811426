-- name: end-sessions-of-client
-- args: $1 client text
-- returns: for each session that was ended: id uuid, client text, hash text (hexadecimal)
-- Runs after hold-sessions in the same transaction, so that no session that begins meanwhile is left out.
DELETE FROM sessions WHERE client = $1::text RETURNING id, client, encode(hash, 'hex') AS hash
