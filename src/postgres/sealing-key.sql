-- name: sealing-key
-- args: $1 name text
-- returns: key bytea, 32 bytes; no row if there is no such key
SELECT key FROM sealing_keys WHERE name = $1
