-- name: check-server
-- args: none
-- returns: version int, encoding text, fsync text, synchronous_commit text, plan_cache_mode text
SELECT current_setting('server_version_num')::int AS version,
       current_setting('server_encoding') AS encoding,
       current_setting('fsync') AS fsync,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('plan_cache_mode') AS plan_cache_mode
