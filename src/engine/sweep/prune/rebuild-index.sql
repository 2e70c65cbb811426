-- name: rebuild-index
-- args: $1 holder text, $2 pass bigint
-- returns: rebuilt text: name of the index of `unfinished` that was bloated and has been rebuilt; null if none was, or if
--          a lock could not be taken; no row once the lease is over.
SELECT rebuild_bloated_index() AS rebuilt
FROM sweeper
WHERE id = 1 AND holder = $1::text AND pass = $2::bigint AND until > clock_timestamp()
