-- name: probe-schema
-- args: none
-- returns: nothing; fails while the schema does not exist
SELECT FROM queues, clients_version LIMIT 0
