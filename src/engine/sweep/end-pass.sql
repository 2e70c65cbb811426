-- name: end-pass
-- args: $1 holder text, $2 pass bigint, $3 watermark timestamptz (null: not moved), $4 cursors json,
--       $5 role text (reclaimer | worker | api), $6 well bool: whether reclaim and reconcile were done
-- returns: pass bigint; no row once the lease is over
-- Stores the results of a pass and frees the lease.
UPDATE sweeper
SET watermark = greatest(watermark, $3::timestamptz),
    cursors = $4::json,
    last_success_at = CASE WHEN $6::bool THEN clock_timestamp() ELSE last_success_at END,
    reclaimer_success_at = CASE WHEN $6::bool AND $5::text = 'reclaimer' THEN clock_timestamp() ELSE reclaimer_success_at END,
    passes_by_reclaimer = passes_by_reclaimer + ($6::bool AND $5::text = 'reclaimer')::int,
    passes_by_worker = passes_by_worker + ($6::bool AND $5::text = 'worker')::int,
    passes_by_api = passes_by_api + ($6::bool AND $5::text = 'api')::int,
    until = clock_timestamp()
WHERE id = 1 AND holder = $1::text AND pass = $2::bigint AND until > clock_timestamp()
RETURNING pass
