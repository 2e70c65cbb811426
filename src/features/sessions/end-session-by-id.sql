-- name: end-session-by-id
-- args: $1 id uuid
-- returns: id uuid, client text, hash text (hexadecimal); no row if there is no such session
DELETE FROM sessions WHERE id = $1::uuid RETURNING id, client, encode(hash, 'hex') AS hash
