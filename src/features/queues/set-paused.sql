-- name: set-paused
-- args: $1 name text, $2 paused bool, and who does it (see `actorValues`): $3 audit_id uuid, $4 client text,
--       $5 address text, $6 trace_id text
-- returns: name text, paused bool, keep_completed bool, version bigint; no row for an unknown queue
-- A change counts as a use of the queue, so its expiry starts again.
-- Only a change increases the version and leaves a row in the audit log, so that repeating the call changes nothing.
WITH held AS MATERIALIZED (
  SELECT name, paused FROM queues WHERE name = $1::text FOR NO KEY UPDATE
), changed AS (
  UPDATE queues q
  SET paused = $2::bool, version = q.version + (h.paused <> $2::bool)::int,
      used_at = CASE WHEN h.paused <> $2::bool THEN now() ELSE q.used_at END
  FROM held h
  WHERE q.name = h.name
  RETURNING q.name, q.paused, q.keep_completed, q.version
), audited AS (
  INSERT INTO audit (id, client, address, trace_id, action, outcome, objects)
  SELECT $3::uuid, $4::text, $5::text, $6::text, CASE WHEN $2::bool THEN 'queue.pause' ELSE 'queue.resume' END, 'allowed',
         ARRAY['queue:' || h.name]
  FROM held h
  WHERE h.paused <> $2::bool
  ON CONFLICT (id) DO NOTHING
)
SELECT name, paused, keep_completed, version FROM changed
