-- name: find-idempotency-keys
-- args: $1 keys text[]
-- returns: key text, request_hash bytea, task_id uuid, answer json of the live records
SELECT key, request_hash, task_id, answer
FROM idempotency_keys
WHERE scope = 'tasks' AND key = ANY ($1::text[]) AND expires_at > clock_timestamp()
