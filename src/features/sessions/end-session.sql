-- name: end-session
-- args: $1 hash bytea
-- returns: id uuid, client text, hash text (hexadecimal); no row if there is no such session
DELETE FROM sessions WHERE hash = $1::bytea RETURNING id, client, encode(hash, 'hex') AS hash
