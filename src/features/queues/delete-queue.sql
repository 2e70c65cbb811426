-- name: delete-queue
-- args: $1 name text, $2 since_ms float8, $3 with_settings bool: delete it even if it keeps no completed tasks, and who
--       deletes it (see `actorValues`; null if it expires): $4 audit_id uuid, $5 client text, $6 address text,
--       $7 trace_id text
-- returns: name text if it was deleted
-- Runs in the transaction that has locked the row (hold-queue). Tasks that were submitted before the lock are committed,
-- so this later statement sees them. Tasks older than $2 were checked before.
WITH deleted AS (
  DELETE FROM queues q
  WHERE q.name = $1::text AND NOT q.paused AND (q.keep_completed OR $3::bool) AND q.name <> 'default'
    AND NOT EXISTS (
      SELECT FROM submissions s
      WHERE s.id >= (SELECT lowest_task_id(to_timestamp($2::float8 / 1000))) AND s.queue = $1::text
    )
  RETURNING q.name
), audited AS (
  INSERT INTO audit (id, client, address, trace_id, action, outcome, objects)
  SELECT $4::uuid, $5::text, $6::text, $7::text, 'queue.delete', 'allowed', ARRAY['queue:' || name]
  FROM deleted
  WHERE $4::uuid IS NOT NULL
  ON CONFLICT (id) DO NOTHING
)
SELECT name FROM deleted
