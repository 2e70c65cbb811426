-- name: probe-schema
-- args: none
-- returns: nothing; fails while the schema is not there
SELECT FROM queues LIMIT 0
