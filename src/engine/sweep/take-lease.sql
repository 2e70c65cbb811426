-- name: take-lease
-- args: $1 holder text, $2 lease_ms float8, $3 overlap_ms float8, $4 lag_ms float8
-- returns: pass bigint, range_from text and range_to text (times of run_at between which the watermark has to look),
--          cursors json, now_ms float8, idle_ms float8 since the last successful pass (null: there was none);
--          no row while another holder has the lease
UPDATE sweeper
SET holder = $1::text, pass = pass + 1, until = clock_timestamp() + $2::float8 * interval '1 millisecond'
WHERE id = 1 AND (until < clock_timestamp() OR holder = $1::text)
RETURNING pass,
          (watermark - $3::float8 * interval '1 millisecond')::text AS range_from,
          (clock_timestamp() - $4::float8 * interval '1 millisecond')::text AS range_to,
          cursors,
          extract(epoch FROM clock_timestamp())::float8 * 1000 AS now_ms,
          extract(epoch FROM clock_timestamp() - last_success_at)::float8 * 1000 AS idle_ms
