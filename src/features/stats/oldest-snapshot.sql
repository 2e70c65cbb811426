-- name: oldest-snapshot
-- args: none
-- returns: next int8: the next transaction id; behind int: how many ids before it the oldest snapshot begins that keeps
--          VACUUM from removing dead rows of this database
-- Every role may see these ids, also those of sessions of other roles, of which it may not see how old they are.
-- VACUUM ignores the snapshots of other VACUUMs.
SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next,
       coalesce(max(h.behind), 0)::int AS behind
FROM (
  SELECT greatest(age(a.backend_xmin), age(a.backend_xid)) AS behind
  FROM pg_stat_activity a
  JOIN pg_database d ON d.datname = current_database()
  -- A standby that sends its oldest snapshot has no database.
  WHERE a.pid <> pg_backend_pid() AND (a.datid = d.oid OR a.datid IS NULL)
    AND a.pid NOT IN (SELECT v.pid FROM pg_stat_progress_vacuum v)
  UNION ALL
  SELECT age(p.transaction) FROM pg_prepared_xacts p WHERE p.database = current_database()
  UNION ALL
  SELECT age(r.xmin) FROM pg_replication_slots r
) AS h
