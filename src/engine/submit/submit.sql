-- name: submit
-- args: $1 ids uuid[], $2 queues text[], $3 actions text[], $4 payloads json[], $5 priorities smallint[],
--       $6 places_ms bigint[], $7 run_ats_ms float8[] (null: at once), $8 execution_times float8[] (s),
--       $9 max_retries int[], $10 backoffs json[], $11 timeouts_ms bigint[], $12 metadata json[],
--       $13 trace_ids text[], $14 traceparents text[],
--       $15 keys text[] (null: none), $16 request_hashes bytea[], $17 answers json[], $18 key_ttl_ms float8,
--       $19 patience text (ms): how long the statement waits for any lock, above all that of a key; null: as long as for anything else,
--       $20 queues text[], each once, without `default`, which is never deleted
-- returns: id uuid, stands boolean, wait_ms float8, missing text (null) for every task with a key or a run_at; not for the others,
--          which all stand committed and need not wait. One whose key belongs to another, live record does not stand.
--          Where a queue has no row, nothing is done, and the rows returned name those queues in `missing`.
-- No key may occur twice.
-- Repeating it with the same ids changes nothing. Keys are locked in the order of their bytes.
-- The rows of the queues are locked until the tasks are committed, so that a queue cannot be deleted from under them: whoever
-- deletes one either sees the tasks or has deleted the row first, and then the lock does not find it.
-- The patience is set where all else begins, and ends with the transaction: no setting of the session is left behind.
WITH patience AS MATERIALIZED (
  SELECT CASE WHEN $19::text IS NULL THEN '' ELSE set_config('lock_timeout', $19::text, true) END AS set
), held AS MATERIALIZED (
  SELECT name
  FROM queues
  WHERE name = ANY ($20::text[]) AND EXISTS (SELECT FROM patience WHERE set IS NOT NULL)
  ORDER BY name
  FOR KEY SHARE
), missing AS MATERIALIZED (
  SELECT name FROM unnest($20::text[]) AS q (name) WHERE name NOT IN (SELECT name FROM held)
), input AS MATERIALIZED (
  SELECT id, queue, action, payload, priority, place_ms, run_at_ms, execution_time,
         max_retries, backoff, timeout_ms, metadata, trace_id, traceparent, key, request_hash, answer
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::json[], $5::smallint[], $6::bigint[], $7::float8[], $8::float8[],
              $9::int[], $10::json[], $11::bigint[], $12::json[], $13::text[], $14::text[], $15::text[], $16::bytea[], $17::json[])
    AS i (id, queue, action, payload, priority, place_ms, run_at_ms, execution_time,
          max_retries, backoff, timeout_ms, metadata, trace_id, traceparent, key, request_hash, answer)
  WHERE EXISTS (SELECT FROM patience WHERE set IS NOT NULL) AND NOT EXISTS (SELECT FROM missing)
), recorded AS (
  INSERT INTO idempotency_keys AS k (scope, key, request_hash, task_id, answer, expires_at)
  SELECT 'tasks', key, request_hash, id, answer, now() + $18::float8 * interval '1 millisecond'
  FROM input
  WHERE key IS NOT NULL
  ORDER BY key COLLATE "C"
  ON CONFLICT (scope, key) DO UPDATE
    SET request_hash = excluded.request_hash, task_id = excluded.task_id, answer = excluded.answer, expires_at = excluded.expires_at
    WHERE k.expires_at <= clock_timestamp() OR k.task_id = excluded.task_id
  RETURNING k.task_id
), inserted AS (
  INSERT INTO tasks (id, queue, action, payload, priority, status, place_ms, run_at, execution_time,
                     max_retries, backoff, timeout_ms, metadata, idempotency_key, trace_id, traceparent)
  SELECT id, queue, action, payload, priority,
         CASE WHEN run_at_ms IS NULL THEN 'PENDING' ELSE 'SCHEDULED' END::task_status,
         place_ms, greatest(now(), to_timestamp(run_at_ms / 1000)), execution_time,
         max_retries, backoff, timeout_ms, metadata, key, trace_id, traceparent
  FROM input
  WHERE key IS NULL OR id IN (SELECT task_id FROM recorded)
  ON CONFLICT (id) DO NOTHING
)
SELECT id,
       key IS NULL OR id IN (SELECT task_id FROM recorded) AS stands,
       coalesce(greatest(0, ceil(run_at_ms - extract(epoch FROM clock_timestamp()) * 1000)), 0)::float8 AS wait_ms,
       NULL::text AS missing
FROM input
WHERE run_at_ms IS NOT NULL OR key IS NOT NULL
UNION ALL
SELECT NULL, false, 0, name FROM missing
