-- name: hold-sessions
-- args: $1 client text
-- returns: nothing of interest
-- Locks the sessions of a client until the end of the transaction, also those that do not exist yet. Otherwise two sessions
-- that begin at the same time could each leave the other one out of the count. The next statement of the transaction sees
-- what was committed before.
SELECT pg_advisory_xact_lock(hashtextextended('sessions of ' || $1::text, 0)) IS NULL AS held
