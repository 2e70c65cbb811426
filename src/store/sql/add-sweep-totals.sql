-- name: add-sweep-totals
-- args: $1 reclaimed bigint (buried ones too), $2 watermark bigint, $3 scan bigint, $4 rebuild bigint, $5 claim bigint, $6 stale bigint,
--       $7 buried bigint
-- returns: nothing
-- Not bound to the lease: what a pass did before it lost it, or failed, was done all the same.
UPDATE sweeper
SET tasks_reclaimed = tasks_reclaimed + $1::bigint,
    reconciled_watermark = reconciled_watermark + $2::bigint,
    reconciled_scan = reconciled_scan + $3::bigint,
    reconciled_rebuild = reconciled_rebuild + $4::bigint,
    reconciled_claim = reconciled_claim + $5::bigint,
    reconciled_stale = reconciled_stale + $6::bigint,
    tasks_buried = tasks_buried + $7::bigint
WHERE id = 1
