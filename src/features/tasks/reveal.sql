-- name: reveal
-- args: $1 id uuid, $2 attempt int: the execution whose result is read (null: the latest),
--       $3 visible text: regular expression of the queues in which the task may be (null: all),
--       and who asks (see `actorValues`): $4 audit_id uuid, $5 client text, $6 address text, $7 trace_id text
-- returns: no row for a task that is unknown or not visible, otherwise queue text, attempt int (null if it is not known),
--          payload json, progress json, result json
-- Whoever reads this leaves a row in the audit log. Both are one statement, so there is no answer without the row.
-- An execution that ended its task is in `finished`, every earlier one in `attempts`.
WITH found AS MATERIALIZED (
  SELECT s.queue, s.payload, coalesce(u.progress, f.progress) AS progress,
         coalesce($2::int, u.attempt, f.attempt) AS attempt, f.attempt AS last_attempt, f.result AS last_result
  FROM submissions s
  LEFT JOIN (SELECT attempt, progress FROM unfinished WHERE id = $1::uuid) AS u ON true
  LEFT JOIN (SELECT attempt, progress, result FROM finished WHERE id = $1::uuid) AS f ON true
  WHERE s.id = $1::uuid AND ($3::text IS NULL OR s.queue ~ $3::text)
), audited AS (
  INSERT INTO audit (id, client, address, trace_id, action, outcome, objects, details)
  SELECT $4::uuid, $5::text, $6::text, $7::text, 'payload.reveal', 'allowed', ARRAY['task:' || $1::uuid, 'queue:' || queue],
         json_build_object('attempt', attempt)
  FROM found
  ON CONFLICT (id) DO NOTHING
)
SELECT t.queue, t.attempt, t.payload, t.progress,
       coalesce(CASE WHEN t.attempt = t.last_attempt THEN t.last_result END, a.result) AS result
FROM found t
LEFT JOIN LATERAL (
  SELECT result FROM attempts WHERE task_id = $1::uuid AND attempt = t.attempt LIMIT 1
) AS a ON true
