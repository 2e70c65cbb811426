-- name: look-at-queue
-- args: $1 name text
-- returns: paused bool, open bool (unfinished tasks), buried bool (open dead letters), now_ms float8;
--          no row for an unknown queue
SELECT paused,
       EXISTS (SELECT FROM unfinished WHERE status IN ('PENDING', 'SCHEDULED') AND queue = $1::text)
         OR EXISTS (SELECT FROM unfinished WHERE status = 'PROCESSING' AND queue = $1::text) AS open,
       EXISTS (SELECT FROM dlq WHERE requeued_at IS NULL AND queue = $1::text) AS buried,
       floor(extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now_ms
FROM queues
WHERE name = $1::text
