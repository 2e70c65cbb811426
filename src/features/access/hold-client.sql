-- name: hold-client
-- args: $1 name text
-- returns: name text; no row for an unknown or revoked client
-- Locks the client until the end of the transaction, so that two rotations cannot each count the secrets of before.
SELECT name FROM clients WHERE name = $1::text AND revoked_at IS NULL FOR UPDATE
