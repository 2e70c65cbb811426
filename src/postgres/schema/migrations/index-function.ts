import pg from 'pg';

/**
 * Rebuilds the largest bloated index of `unfinished`, and returns its name; null if there is none, or if it has to wait.
 * When a queue has drained, a page of an index is reused only after its last entry is gone, so one task in 400 that still
 * waits keeps an index at its largest size.
 *
 * Not CONCURRENTLY, which cannot run in a function, and which only the owner of the table may do before PostgreSQL 17. So
 * all statements that use the table wait meanwhile, and every condition keeps that short: 15 to 60 ms on two busy cores for
 * a table that had a million rows, and has 2,500; 220 ms for one that had two million. The last condition is about rows
 * that an old snapshot still needs: they could not be vacuumed away, would be in the new index again, and the next call
 * would begin anew. The caller's other statements must not use the table in the same transaction.
 */
export const rebuildBloatedIndex = (schema: string): string => `
  CREATE FUNCTION rebuild_bloated_index() RETURNS text LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms'
  AS $$
  DECLARE
    home constant text := ${pg.escapeLiteral(schema)};
    live constant regclass := to_regclass(format('%I.unfinished', home));
    most_rows constant integer := 50000;
    most_table_bytes constant bigint := 512 * 1024 * 1024;
    least_index_bytes constant bigint := 8 * 1024 * 1024;
    indexes regclass[];
    each regclass;
    rows_found bigint;
    bytes_needed bigint;
  BEGIN
    IF pg_relation_size(live) > most_table_bytes
       OR coalesce(pg_stat_get_last_vacuum_time(live), pg_stat_get_last_autovacuum_time(live)) IS NULL
       OR pg_stat_get_dead_tuples(live) > most_rows THEN
      RETURN NULL;
    END IF;
    indexes := ARRAY(SELECT i.indexrelid FROM pg_index i
                     WHERE i.indrelid = live AND pg_relation_size(i.indexrelid) >= least_index_bytes
                     ORDER BY pg_relation_size(i.indexrelid) DESC);
    IF indexes = '{}' THEN
      RETURN NULL;
    END IF;
    EXECUTE format('SELECT count(*), count(*) * 40 + coalesce(sum(octet_length(u.worker_id)), 0)
                    FROM (SELECT worker_id FROM %I.unfinished LIMIT $1 + 1) AS u', home)
      INTO rows_found, bytes_needed USING most_rows;
    IF rows_found > most_rows THEN
      RETURN NULL;
    END IF;
    FOREACH each IN ARRAY indexes LOOP
      IF pg_relation_size(each) > 4 * bytes_needed THEN
        EXECUTE format('REINDEX INDEX %s', each);
        RETURN (SELECT c.relname FROM pg_class c WHERE c.oid = each);
      END IF;
    END LOOP;
    RETURN NULL;
  EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN NULL;
  END $$`;
