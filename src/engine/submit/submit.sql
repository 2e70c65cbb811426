-- name: submit
-- args: $1 ids uuid[], $2 queues text[], $3 actions text[], $4 payloads json[], $5 priorities smallint[],
--       $6 places_ms bigint[], $7 run_ats_ms float8[] (null: at once), $8 execution_times float8[] (s),
--       $9 max_retries int[], $10 backoffs json[], $11 timeouts_ms bigint[], $12 metadata json[],
--       $13 trace_ids text[], $14 traceparents text[],
--       $15 keys text[] (null: none), $16 request_hashes bytea[], $17 answers json[], $18 key_ttl_ms float8,
--       $19 patience text (ms): lock timeout of the statement, mainly for the locks of keys; null: the session's timeout,
--       $20 queues text[], each once, without `default`, which is never deleted,
--       $21 groups text[], $22 clients text[] (null: no client),
--       $23 quota_clients text[] (null: no quota counts the task)
--       Any of these arrays except the first may be null if all its elements are null.
-- returns: id uuid, stands boolean, wait_ms float8, missing text (null) for every task with a key or a run_at.
--          Other tasks return no row: they are always committed and may start at once.
--          `stands` is false if the task's key belongs to a record of another task that has not expired.
--          A key belongs to its client and queue.
--          If a queue has no row, nothing is written, and the rows returned name such queues in `missing`.
-- No key of one client and queue may occur twice.
-- A repeated call with the same ids changes nothing, even if the tasks have ended since: only what was inserted into
-- `submissions` gets its pairs, and a row of `unfinished`. `IS TRUE` makes PostgreSQL look the ids up in a hash table;
-- without it, the planner could compare each with each. Keys are locked in the order of client, queue and key, by their
-- bytes; rows are inserted in the order of their ids: two calls that share tasks do not deadlock. Pairs are inserted in the
-- order of their index, and two calls never insert the same pair. If no task has metadata, the part `pairs` is left out:
-- planning it would make a statement for one task a tenth dearer.
-- The rows of the queues stay locked until the tasks are committed, so that nobody can delete a queue that gets tasks: a
-- transaction that deletes a queue either sees the tasks, or has deleted the row before, and then the lock finds no row.
-- The lock timeout is set before everything else. It ends with the transaction, so the session keeps its own setting.
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
         max_retries, backoff, timeout_ms, metadata, trace_id, traceparent, key, request_hash, answer, "group", client,
         quota_client
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::json[], $5::smallint[], $6::bigint[], $7::float8[], $8::float8[],
              $9::int[], $10::json[], $11::bigint[], $12::json[], $13::text[], $14::text[], $15::text[], $16::bytea[], $17::json[],
              $21::text[], $22::text[], $23::text[])
    AS i (id, queue, action, payload, priority, place_ms, run_at_ms, execution_time,
          max_retries, backoff, timeout_ms, metadata, trace_id, traceparent, key, request_hash, answer, "group", client,
          quota_client)
  WHERE EXISTS (SELECT FROM patience WHERE set IS NOT NULL) AND NOT EXISTS (SELECT FROM missing)
), recorded AS (
  INSERT INTO idempotency_keys AS k (client, queue, key, request_hash, task_id, answer, expires_at)
  SELECT coalesce(client, ''), queue, key, request_hash, id, answer, now() + $18::float8 * interval '1 millisecond'
  FROM input
  WHERE key IS NOT NULL
  ORDER BY coalesce(client, '') COLLATE "C", queue COLLATE "C", key COLLATE "C"
  ON CONFLICT (client, queue, key) DO UPDATE
    SET request_hash = excluded.request_hash, task_id = excluded.task_id, answer = excluded.answer, expires_at = excluded.expires_at
    WHERE k.expires_at <= clock_timestamp() OR k.task_id = excluded.task_id
  RETURNING k.task_id
), fleeting AS MATERIALIZED (
  SELECT array_agg(name) AS names FROM queues WHERE NOT keep_completed
), inserted AS (
  INSERT INTO submissions (id, client, queue, action, payload, priority, "group", run_at, execution_time, max_retries,
                           backoff, timeout_ms, metadata, idempotency_key, trace_id, traceparent, keep_completed)
  SELECT id, client, queue, action, payload, priority, "group", to_timestamp(run_at_ms / 1000), execution_time,
         max_retries, backoff, timeout_ms, metadata, key, trace_id, traceparent,
         coalesce(queue <> ALL ((SELECT names FROM fleeting)::text[]), true)
  FROM input
  WHERE key IS NULL OR id IN (SELECT task_id FROM recorded)
  ORDER BY id
  ON CONFLICT (id) DO NOTHING
  RETURNING id
-- part: pairs
), paired AS (
  INSERT INTO metadata_pairs (name, value, id)
  SELECT (pair).key, left((pair).value, 200), id
  FROM (
    SELECT id, json_each_text(metadata) AS pair
    FROM input
    WHERE metadata IS NOT NULL AND (id IN (SELECT id FROM inserted)) IS TRUE
  ) AS members
  ORDER BY 1, 2, 3
-- end of pairs
), opened AS (
  INSERT INTO unfinished (id, queue, priority, place_ms, "group", keep_completed, status, run_at, quota_client)
  SELECT id, queue, priority, place_ms, "group",
         coalesce(queue <> ALL ((SELECT names FROM fleeting)::text[]), true),
         CASE WHEN run_at_ms IS NULL THEN 'PENDING' ELSE 'SCHEDULED' END::task_status,
         greatest(now(), to_timestamp(run_at_ms / 1000)), quota_client
  FROM input
  WHERE (id IN (SELECT id FROM inserted)) IS TRUE
  ORDER BY id
)
SELECT id,
       key IS NULL OR id IN (SELECT task_id FROM recorded) AS stands,
       coalesce(greatest(0, ceil(run_at_ms - extract(epoch FROM clock_timestamp()) * 1000)), 0)::float8 AS wait_ms,
       NULL::text AS missing
FROM input
WHERE run_at_ms IS NOT NULL OR key IS NOT NULL
UNION ALL
SELECT NULL, false, 0, name FROM missing
