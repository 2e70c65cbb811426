-- name: add-sweep-totals
-- args: $1 reclaimed bigint (includes buried tasks), $2 watermark bigint, $3 scan bigint, $4 rebuild bigint,
--       $5 claim bigint, $6 stale bigint, $7 buried bigint, $8 failed text[] (names of duties, each once)
-- returns: nothing
-- This does not check the lease: the work of a pass counts even if the pass lost the lease afterwards or failed.
UPDATE sweeper
SET tasks_reclaimed = tasks_reclaimed + $1::bigint,
    reconciled_watermark = reconciled_watermark + $2::bigint,
    reconciled_scan = reconciled_scan + $3::bigint,
    reconciled_rebuild = reconciled_rebuild + $4::bigint,
    reconciled_claim = reconciled_claim + $5::bigint,
    reconciled_stale = reconciled_stale + $6::bigint,
    tasks_buried = tasks_buried + $7::bigint,
    duty_failures = (
      SELECT coalesce(json_object_agg(f.duty, f.failures ORDER BY f.duty), '{}')
      FROM (SELECT n.duty, sum(n.failures) AS failures
            FROM (SELECT key AS duty, value::bigint AS failures FROM json_each_text(duty_failures)
                  UNION ALL
                  SELECT duty, 1 FROM unnest($8::text[]) AS d (duty)) AS n
            GROUP BY n.duty) AS f
    )
WHERE id = 1
