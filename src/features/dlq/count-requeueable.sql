-- name: count-requeueable
-- args: $1 after_id uuid, $2 after_attempt int: only dead letters after that one,
--       $3 look int: most dead letters to look at, $4 queue text, $5 action text, $6 reason text,
--       $7 failed_after timestamptz, $8 failed_before timestamptz, $9 error_contains text (each null: any),
--       $10 visible text: regular expression of the queues whose dead letters count (null: all),
--       $11 stacks boolean: whether the text of $9 may be in a stack trace (see requeue)
-- returns: looked int, count int of those that match and whose task is FAILED, and the last one that was looked at:
--          last_id uuid, last_attempt int (null if there was none)
WITH next AS MATERIALIZED (
  SELECT task_id, attempt,
         (requeued_at IS NULL
         AND ($10::text IS NULL OR queue ~ $10::text)
         AND ($4::text IS NULL OR queue = $4::text)
         AND ($5::text IS NULL OR action = $5::text)
         AND ($6::text IS NULL OR reason = $6::text)
         AND ($7::timestamptz IS NULL OR failed_at >= $7::timestamptz)
         AND ($8::timestamptz IS NULL OR failed_at < $8::timestamptz)
         AND ($9::text IS NULL OR CASE
                WHEN strpos(errors::text, $9::text) = 0 THEN false
                WHEN $11::boolean THEN true
                ELSE strpos(regexp_replace(errors::text, '"stack"\s*:\s*"([^"\\]|\\.)*"|\\n(\\t|\s)*at ([^"\\]|\\[^n])*', '', 'g'), $9::text) > 0
              END)) IS TRUE AS fits
  FROM dlq
  WHERE (task_id, attempt) > ($1::uuid, $2::int)
  ORDER BY task_id, attempt
  LIMIT $3::int
), last AS (
  SELECT task_id, attempt FROM next ORDER BY task_id DESC, attempt DESC LIMIT 1
)
SELECT (SELECT count(*)::int FROM next) AS looked,
       (SELECT count(*)::int
        FROM next n
        CROSS JOIN LATERAL (SELECT f.status, f.attempt FROM finished f WHERE f.id = n.task_id LIMIT 1) AS f
        WHERE n.fits AND f.status = 'FAILED' AND f.attempt = n.attempt) AS count,
       l.task_id AS last_id, l.attempt AS last_attempt
FROM (SELECT) AS one
LEFT JOIN last l ON true
