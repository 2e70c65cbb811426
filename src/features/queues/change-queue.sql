-- name: change-queue
-- args: $1 name text, $2 paused bool, $3 keep_completed bool (each null: it stays as it is), who changes it (see
--       `actorValues`): $4 audit_id uuid, $5 client text, $6 address text, $7 trace_id text, and what the audit log says
--       of it: $8 action text, $9 details json (null: none)
-- returns: name text, paused bool, keep_completed bool, version bigint; no row for an unknown queue
-- `keep_completed` applies to tasks that are submitted from now on: submit copies it into each of them.
-- A change counts as a use of the queue, so its expiry starts again.
-- Only a change increases the version and leaves a row in the audit log, so that repeating the call changes nothing.
WITH held AS MATERIALIZED (
  SELECT name,
         paused <> coalesce($2::bool, paused) OR keep_completed <> coalesce($3::bool, keep_completed) AS changes
  FROM queues
  WHERE name = $1::text
  FOR NO KEY UPDATE
), changed AS (
  UPDATE queues q
  SET paused = coalesce($2::bool, q.paused),
      keep_completed = coalesce($3::bool, q.keep_completed),
      version = q.version + h.changes::int,
      used_at = CASE WHEN h.changes THEN now() ELSE q.used_at END
  FROM held h
  WHERE q.name = h.name
  RETURNING q.name, q.paused, q.keep_completed, q.version
), audited AS (
  INSERT INTO audit (id, client, address, trace_id, action, outcome, objects, details)
  SELECT $4::uuid, $5::text, $6::text, $7::text, $8::text, 'allowed', ARRAY['queue:' || name], $9::json
  FROM held
  WHERE changes
  ON CONFLICT (id) DO NOTHING
)
SELECT name, paused, keep_completed, version FROM changed
