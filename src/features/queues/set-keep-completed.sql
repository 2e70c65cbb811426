-- name: set-keep-completed
-- args: $1 name text, $2 keep_completed bool, and who does it (see `actorValues`): $3 audit_id uuid, $4 client text,
--       $5 address text, $6 trace_id text
-- returns: name text, paused bool, keep_completed bool, version bigint; no row for an unknown queue
-- Applies to tasks that are submitted from now on: submit copies the setting into each of them.
-- A change counts as a use of the queue, so its expiry starts again.
-- Only a change increases the version and leaves a row in the audit log, so that repeating the call changes nothing.
WITH held AS MATERIALIZED (
  SELECT name, keep_completed FROM queues WHERE name = $1::text FOR NO KEY UPDATE
), changed AS (
  UPDATE queues q
  SET keep_completed = $2::bool, version = q.version + (h.keep_completed <> $2::bool)::int,
      used_at = CASE WHEN h.keep_completed <> $2::bool THEN now() ELSE q.used_at END
  FROM held h
  WHERE q.name = h.name
  RETURNING q.name, q.paused, q.keep_completed, q.version
), audited AS (
  INSERT INTO audit (id, client, address, trace_id, action, outcome, objects, details)
  SELECT $3::uuid, $4::text, $5::text, $6::text, 'queue.change', 'allowed',
         ARRAY['queue:' || h.name], json_build_object('keep_completed', $2::bool)
  FROM held h
  WHERE h.keep_completed <> $2::bool
  ON CONFLICT (id) DO NOTHING
)
SELECT name, paused, keep_completed, version FROM changed
