-- name: find-idempotency-keys
-- args: $1 clients text[] (null: no client; the array may be null if all its elements are null), $2 queues text[],
--       $3 keys text[], $4 request_hashes bytea[], all in the same order
-- returns: a row for each key with a record that has not expired: place int (of the key, from 1), same boolean,
--          task_id uuid, answer json. `same`: the record belongs to the same request. Only such a record returns its
--          answer, so that a short request does not load the long answers of other requests.
-- LATERAL makes PostgreSQL find each record by its primary key.
SELECT g.place::int, k.request_hash = g.request_hash AS same, k.task_id,
       CASE WHEN k.request_hash = g.request_hash THEN k.answer END AS answer
FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[]) WITH ORDINALITY AS g (client, queue, key, request_hash, place)
CROSS JOIN LATERAL (
  SELECT request_hash, task_id, answer
  FROM idempotency_keys
  WHERE client = coalesce(g.client, '') AND queue = g.queue AND key = g.key AND expires_at > clock_timestamp()
  LIMIT 1
) AS k
