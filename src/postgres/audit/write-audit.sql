-- name: write-audit
-- args: $1 id uuid, $2 client text, $3 address text, $4 trace_id text, $5 action text, $6 objects text[], $7 details json text,
--       $8 count bigint
-- returns: nothing
-- Writes the row of an action. Runs in the transaction of the action. Repeating it changes nothing.
INSERT INTO audit (id, client, address, trace_id, action, outcome, objects, details, count)
VALUES ($1::uuid, $2::text, $3::text, $4::text, $5::text, 'allowed', $6::text[], $7::json, $8::bigint)
ON CONFLICT (id) DO NOTHING
