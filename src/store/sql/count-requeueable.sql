-- name: count-requeueable
-- args: $1 queue text, $2 action text, $3 reason text, $4 failed_after timestamptz, $5 failed_before timestamptz,
--       $6 error_contains text (each null: any), $7 most int (null: all)
-- returns: count int of the open dead letters that match and whose task is FAILED, up to $7
SELECT count(*)::int AS count
FROM (
  SELECT
  FROM dlq d
  JOIN tasks t ON t.id = d.task_id
  WHERE d.requeued_at IS NULL AND t.status = 'FAILED' AND t.attempt = d.attempt
    AND ($1::text IS NULL OR d.queue = $1::text)
    AND ($2::text IS NULL OR d.action = $2::text)
    AND ($3::text IS NULL OR d.reason = $3::text)
    AND ($4::timestamptz IS NULL OR d.failed_at >= $4::timestamptz)
    AND ($5::timestamptz IS NULL OR d.failed_at < $5::timestamptz)
    AND ($6::text IS NULL OR strpos(d.errors::text, $6::text) > 0)
  LIMIT $7::int
) AS matching
