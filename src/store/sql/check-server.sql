-- name: check-server
-- args: none
-- returns: version int, fsync text, synchronous_commit text
SELECT current_setting('server_version_num')::int AS version,
       current_setting('fsync') AS fsync,
       current_setting('synchronous_commit') AS synchronous_commit
