-- name: find-idempotency-keys
-- args: $1 keys text[], $2 request_hashes bytea[] in the same order
-- returns: key text, same boolean, task_id uuid, answer json of the live records. `same`: it is of the same request; only
--          then there is an answer: a short request must not be told long ones of others.
SELECT k.key, k.request_hash = g.request_hash AS same, k.task_id,
       CASE WHEN k.request_hash = g.request_hash THEN k.answer END AS answer
FROM unnest($1::text[], $2::bytea[]) AS g (key, request_hash)
JOIN idempotency_keys k ON k.scope = 'tasks' AND k.key = ANY (ARRAY[g.key]) AND k.expires_at > clock_timestamp()
