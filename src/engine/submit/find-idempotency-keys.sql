-- name: find-idempotency-keys
-- args: $1 keys text[], $2 request_hashes bytea[] in the same order
-- returns: key text, same boolean, task_id uuid, answer json of the records that have not expired.
--          `same`: the record belongs to the same request. Only such a record returns its answer, so that a short request
--          does not load the long answers of other requests.
SELECT k.key, k.request_hash = g.request_hash AS same, k.task_id,
       CASE WHEN k.request_hash = g.request_hash THEN k.answer END AS answer
FROM unnest($1::text[], $2::bytea[]) AS g (key, request_hash)
JOIN idempotency_keys k ON k.scope = 'tasks' AND k.key = ANY (ARRAY[g.key]) AND k.expires_at > clock_timestamp()
