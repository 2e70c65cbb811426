import pg from 'pg';
import { NO_STATISTICS, PARENTS } from './partition-functions.ts';

/** Most tasks that the default partitions may have when tasks are moved there. All of them are looked at again and again. */
const MOVED_AT_MOST = 100_000;

/** Most of them that may be in the partition of no week. PostgreSQL reads these when it makes the partitions of a day. */
const OTHERS_AT_MOST = 10_000;

/** Most bytes of payloads, metadata, errors and results that a drop moves while it holds its locks. */
const MOVED_BYTES_AT_MOST = 16 * 1024 * 1024;

/**
 * What the sweeper knows about each past day that still has partitions: what it holds, and when to look at it again. If a
 * row is missing, the day is looked at.
 */
export const PAST_DAYS = `
  CREATE TABLE past_days (
    day            date        NOT NULL PRIMARY KEY,
    looked_at      timestamptz NOT NULL,
    look_again_at  timestamptz NOT NULL,
    surveyed_since timestamptz NOT NULL,
    surveyed_to    uuid,
    held           integer,
    lasting        integer,
    staying        uuid[]      NOT NULL
  )`;

/**
 * Drops the partitions of one day, after it has moved the tasks that must stay to the default partitions. The caller has
 * surveyed the day since `surveyed_at`, and only the tasks `staying` have to stay. Since then, other tasks may have been
 * requeued, and may even have ended again, so the function looks for them under locks that keep writers out.
 *
 * Everything waits for these locks. So the function gives up, and changes nothing, if more than `most` tasks or too many
 * bytes would have to be moved, if it does not get a lock soon, or if it takes more than a second. It looks up rows
 * by key, and its own settings keep the planner from reading a day as a whole. The partitions are detached first, because
 * the default partition takes no rows of a day that has a partition.
 *
 * If a table has no partition for the day, but other rows of it in its default partition, nothing is dropped until those
 * rows have been deleted one by one. Returns the number of tasks that were moved; null if nothing was dropped.
 */
export const dropPartitions = (schema: string): string => `
  CREATE FUNCTION drop_partitions_of(day date, surveyed_at timestamptz, staying uuid[], most integer) RETURNS integer
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms'
  SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
  AS $$
  DECLARE
    home constant text := ${pg.escapeLiteral(schema)};
    from_id constant uuid := ${pg.escapeIdentifier(schema)}.lowest_task_id(day::timestamp AT TIME ZONE 'UTC');
    to_id constant uuid := ${pg.escapeIdentifier(schema)}.lowest_task_id((day + 1)::timestamp AT TIME ZONE 'UTC');
    parent text;
    id_column text;
    partition_name text;
    partitions text[] := '{}';
    attached text[] := '{}';
    found bigint;
    is_in_the_way boolean;
    moving uuid[];
    began timestamptz;
    week constant date := date_trunc('week', day::timestamp)::date;
    week_from_id constant uuid := ${pg.escapeIdentifier(schema)}.lowest_task_id(week::timestamp AT TIME ZONE 'UTC');
    week_to_id constant uuid := ${pg.escapeIdentifier(schema)}.lowest_task_id((week + 7)::timestamp AT TIME ZONE 'UTC');
    week_name text;
  BEGIN
    IF cardinality(staying) > 0 THEN
      EXECUTE format('SELECT count(*) FROM (SELECT FROM %I.submissions_default LIMIT ${MOVED_AT_MOST}) AS moved', home)
        INTO found;
      IF cardinality(staying) > least(most, ${MOVED_AT_MOST} - found) THEN
        RETURN NULL;
      END IF;
      -- The size of a column is known without reading its value. 100 bytes stand for the rest of a row.
      EXECUTE format($size$
        SELECT coalesce(sum(bytes), 0)
        FROM unnest($1) AS k (id)
        CROSS JOIN LATERAL (
          SELECT 100 + pg_column_size(s.payload) + coalesce(pg_column_size(s.metadata), 0) AS bytes
          FROM %1$I.submissions s
          WHERE s.id = k.id AND s.id >= $2 AND s.id < $3
          UNION ALL
          SELECT 100 + coalesce(pg_column_size(f.error), 0) + coalesce(pg_column_size(f.result), 0) + coalesce(pg_column_size(f.progress), 0)
          FROM %1$I.finished f
          WHERE f.id = k.id AND f.id >= $2 AND f.id < $3
          UNION ALL
          SELECT 100 + coalesce(pg_column_size(a.error), 0) + coalesce(pg_column_size(a.result), 0)
          FROM %1$I.attempts a
          WHERE a.task_id = k.id AND a.task_id >= $2 AND a.task_id < $3
          OFFSET 0
        ) AS sizes $size$, home)
        INTO found USING staying, from_id, to_id;
      IF found > ${MOVED_BYTES_AT_MOST} THEN
        RETURN NULL;
      END IF;
    END IF;
    -- The parents come first, in the order in which settle, reclaim, requeue and submit lock them. In another order, such a
    -- statement and this one could wait for each other, and everything else for both.
    FOREACH parent IN ARRAY ARRAY['finished', 'attempts', 'submissions', 'metadata_pairs'] LOOP
      EXECUTE format('LOCK TABLE ONLY %I.%I IN ACCESS EXCLUSIVE MODE', home, parent);
      began := coalesce(began, clock_timestamp());
    END LOOP;
    FOR parent, id_column IN VALUES ${PARENTS} LOOP
      partition_name := format('%I.%I', home, parent || to_char(day, '_YYYYMMDD'));
      IF to_regclass(partition_name) IS NULL THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I WHERE %I >= $1 AND %I < $2 AND (%I IN (SELECT unnest($3))) IS NOT TRUE)',
                       home, parent || '_default', id_column, id_column, id_column)
          INTO is_in_the_way USING from_id, to_id, staying;
        IF is_in_the_way THEN
          RETURN NULL;
        END IF;
      ELSE
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', partition_name);
        partitions := partitions || partition_name;
        attached := attached || parent;
      END IF;
    END LOOP;
    IF partitions = '{}' THEN
      RETURN NULL;
    END IF;
    -- Whoever submits, requeues or ends a task of this day needs one of the tables that are locked now.
    -- A requeue that began before the survey may have been committed after it. Then the end of the task is younger.
    EXECUTE format($wanted$
      SELECT coalesce(array_agg(id ORDER BY id), '{}')
      FROM (
        SELECT unnest($4) AS id
        UNION
        (SELECT u.id FROM %1$I.unfinished u WHERE u.id >= $1 AND u.id < $2 LIMIT $5 + 1)
        UNION
        (SELECT d.task_id
         FROM %1$I.dlq d
         WHERE d.task_id >= $1 AND d.task_id < $2 AND d.requeued_at IS NOT NULL
           AND (d.requeued_at >= $3
                OR EXISTS (SELECT FROM %1$I.finished f
                           WHERE f.id = d.task_id AND f.id >= $1 AND f.id < $2 AND f.finished_at >= $3))
         LIMIT $5 + 1)
      ) AS wanted $wanted$, home)
      INTO moving USING from_id, to_id, surveyed_at, staying, most;
    IF cardinality(moving) > most THEN
      RETURN NULL;
    END IF;
    FOR i IN 1 .. cardinality(partitions) LOOP
      EXECUTE format('ALTER TABLE %I.%I DETACH PARTITION %s', home, attached[i], partitions[i]);
      -- Sessions remember which rows a partition takes. PostgreSQL tells them to forget it for the default partition, but
      -- not for the default partition inside it. This changes nothing, but makes them forget.
      EXECUTE format('ALTER TABLE %I.%I SET (autovacuum_vacuum_scale_factor = 0.05)', home, attached[i] || '_other');
    END LOOP;
    IF moving <> '{}' THEN
      -- The tasks that are moved out of the days of one week share a partition.
      BEGIN
        FOR parent, id_column IN VALUES ${PARENTS} LOOP
          week_name := format('%I.%I', home, parent || '_week_' || to_char(week, 'YYYYMMDD'));
          CONTINUE WHEN to_regclass(week_name) IS NOT NULL;
          EXECUTE format(
            'CREATE TABLE %s (LIKE %I.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS, CHECK (%I >= %L AND %I < %L))
             WITH (autovacuum_vacuum_scale_factor = 0.05)',
            week_name, home, parent, id_column, week_from_id, id_column, week_to_id);
          IF parent = 'submissions' THEN
            EXECUTE format('ALTER TABLE %s ${NO_STATISTICS}', week_name);
          END IF;
          EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
                         home, parent || '_default', week_name, week_from_id, week_to_id);
        END LOOP;
      EXCEPTION WHEN check_violation THEN
        -- There are other rows of this week, because a day of it had no partitions. The tasks are moved to them.
        EXECUTE format('SELECT count(*) FROM (SELECT FROM %I.submissions_other LIMIT ${OTHERS_AT_MOST}) AS others', home)
          INTO found;
        IF found + cardinality(moving) > ${OTHERS_AT_MOST} THEN
          RAISE EXCEPTION 'too many rows would have no week' USING ERRCODE = 'DT002';
        END IF;
      END;
      -- The submissions come first in both arrays, because the pairs are found by the metadata of their submissions.
      FOR i IN 1 .. cardinality(partitions) LOOP
        EXECUTE CASE attached[i]
          WHEN 'metadata_pairs' THEN
            format($move$
              INSERT INTO %1$I.metadata_pairs_default
              SELECT DISTINCT p.*
              FROM unnest($1) AS k (id)
              CROSS JOIN LATERAL (SELECT s.metadata FROM %1$I.submissions_default s WHERE s.id = k.id OFFSET 0) AS s
              CROSS JOIN LATERAL json_each_text(s.metadata) AS m
              CROSS JOIN LATERAL (
                SELECT * FROM %2$s p WHERE p.name = m.key AND p.value = left(m.value, 200) AND p.id = k.id OFFSET 0
              ) AS p $move$, home, partitions[i])
          ELSE
            format($move$
              INSERT INTO %I.%I
              SELECT p.*
              FROM unnest($1) AS k (id)
              CROSS JOIN LATERAL (SELECT * FROM %s p WHERE p.%I = k.id OFFSET 0) AS p $move$,
              home, attached[i] || '_default', partitions[i], CASE attached[i] WHEN 'attempts' THEN 'task_id' ELSE 'id' END)
        END
          USING moving;
        IF clock_timestamp() > began + interval '1 second' THEN
          RAISE EXCEPTION 'the move takes too long' USING ERRCODE = 'DT002';
        END IF;
      END LOOP;
    END IF;
    -- Weeks that have become empty go with the day, all four tables of a week together.
    FOR week_name IN
      SELECT right(c.relname, 8)
      FROM pg_inherits i
      JOIN pg_class c ON c.oid = i.inhrelid
      WHERE i.inhparent = to_regclass(format('%I.submissions_default', home)) AND c.relname ~ '^submissions_week_[0-9]{8}$'
        AND clock_timestamp() < began + interval '500 milliseconds'
    LOOP
      is_in_the_way := false;
      FOR parent, id_column IN VALUES ${PARENTS} LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I)', home, parent || '_week_' || week_name) INTO is_in_the_way;
        EXIT WHEN is_in_the_way;
      END LOOP;
      IF NOT is_in_the_way THEN
        FOR parent, id_column IN VALUES ${PARENTS} LOOP
          partitions := partitions || format('%I.%I', home, parent || '_week_' || week_name);
        END LOOP;
      END IF;
    END LOOP;
    EXECUTE 'DROP TABLE ' || array_to_string(partitions, ', ');
    EXECUTE format(
      'DELETE FROM %I.dlq WHERE task_id >= $1 AND task_id < $2 AND (task_id IN (SELECT unnest($3))) IS NOT TRUE', home)
      USING from_id, to_id, moving;
    EXECUTE format('DELETE FROM %I.past_days d WHERE d.day = $1', home) USING day;
    RETURN cardinality(moving);
  EXCEPTION WHEN lock_not_available OR deadlock_detected OR SQLSTATE 'DT002' THEN
    RETURN NULL;
  END $$`;
