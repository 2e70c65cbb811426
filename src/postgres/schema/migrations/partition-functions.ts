import pg from 'pg';

/** PostgreSQL binds this body when it creates the function, so no search path can change what the body calls. */
export const ID_OF_DAY = `
  CREATE FUNCTION lowest_task_id(at timestamptz) RETURNS uuid LANGUAGE sql STABLE STRICT
  RETURN (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid`;

/**
 * For each new partition of `submissions`. Statistics of these columns are soon wrong: if most tasks had one group when
 * they were made, and none of the later ones has it, the planner would search for it among all tasks, in the order of
 * their ids. Without statistics it expects few rows, and uses the index.
 */
export const NO_STATISTICS = `ALTER "group" SET STATISTICS 0, ALTER idempotency_key SET STATISTICS 0`;

/** The tables that have a partition for each day, with the columns of their ids. */
const PARENTS = `('submissions', 'id'), ('metadata_pairs', 'id'), ('finished', 'id'), ('attempts', 'task_id')`;

/**
 * SECURITY DEFINER, so that the processes' role need not own the tables. Every name in such a function must be qualified
 * or in pg_catalog. Otherwise its caller, or a role that may create objects in the schema, could make it run other code.
 * The partitions of one day are created together or not at all. If a default partition already has rows for a day, no
 * partition is made for that day. A new partition is created apart and then attached, which does not lock out writers.
 */
export const ensurePartitions = (schema: string): string => `
  CREATE FUNCTION ensure_partitions(days_ahead integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms'
  AS $$
  DECLARE
    home constant text := ${pg.escapeLiteral(schema)};
    parent text;
    id_column text;
    partition_name text;
    from_id uuid;
    to_id uuid;
    occupied boolean;
    made integer := 0;
    made_of_day integer;
    day date;
  BEGIN
    FOR offset_days IN 0 .. least(days_ahead, 60) LOOP
      day := (clock_timestamp() AT TIME ZONE 'UTC')::date + offset_days;
      from_id := ${pg.escapeIdentifier(schema)}.lowest_task_id(day::timestamp AT TIME ZONE 'UTC');
      to_id := ${pg.escapeIdentifier(schema)}.lowest_task_id((day + 1)::timestamp AT TIME ZONE 'UTC');
      made_of_day := 0;
      BEGIN
        FOR parent, id_column IN VALUES ${PARENTS} LOOP
          partition_name := parent || to_char(day, '_YYYYMMDD');
          CONTINUE WHEN to_regclass(format('%I.%I', home, partition_name)) IS NOT NULL;
          EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I WHERE %I >= $1 AND %I < $2)',
                         home, parent || '_default', id_column, id_column)
            INTO occupied USING from_id, to_id;
          IF occupied THEN
            RAISE EXCEPTION 'occupied' USING ERRCODE = 'DT001';
          END IF;
          EXECUTE format(
            'CREATE TABLE %I.%I (LIKE %I.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS) WITH (autovacuum_vacuum_scale_factor = 0.05)',
            home, partition_name, home, parent);
          IF parent = 'submissions' THEN
            EXECUTE format('ALTER TABLE %I.%I ${NO_STATISTICS}', home, partition_name);
          END IF;
          EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
                         home, parent, home, partition_name, from_id, to_id);
          made_of_day := made_of_day + 1;
        END LOOP;
      EXCEPTION
        -- A row of the day may also be committed between that look and the lock; PostgreSQL finds it when it attaches.
        WHEN SQLSTATE 'DT001' OR check_violation THEN
          CONTINUE;
        WHEN lock_not_available THEN
          -- Attaching locks the default partition, which statements without an id read. A later call tries again.
          RETURN made;
      END;
      made := made + made_of_day;
    END LOOP;
    RETURN made;
  END $$`;

/**
 * Drops the partitions of one day. The caller has surveyed the day since `surveyed_at`, and all its tasks may go. Since
 * then, a task may have been requeued, and may even have ended again, so the function checks once more under a lock that
 * keeps writers out. If a table has no partition for the day, but rows of it in its default partition, nothing is dropped
 * until those rows have been deleted one by one. Returns whether the partitions were dropped.
 */
export const dropPartitions = (schema: string): string => `
  CREATE FUNCTION drop_partitions_of(day date, surveyed_at timestamptz) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms'
  AS $$
  DECLARE
    home constant text := ${pg.escapeLiteral(schema)};
    from_id constant uuid := ${pg.escapeIdentifier(schema)}.lowest_task_id(day::timestamp AT TIME ZONE 'UTC');
    to_id constant uuid := ${pg.escapeIdentifier(schema)}.lowest_task_id((day + 1)::timestamp AT TIME ZONE 'UTC');
    parent text;
    id_column text;
    partition_name text;
    wanted boolean;
    partitions text[] := '{}';
  BEGIN
    -- The parents come first, in the order in which settle, reclaim, requeue and submit lock them. In another order, such a
    -- statement and this one could wait for each other, and everything else for both.
    FOREACH parent IN ARRAY ARRAY['finished', 'attempts', 'submissions', 'metadata_pairs'] LOOP
      EXECUTE format('LOCK TABLE ONLY %I.%I IN ACCESS EXCLUSIVE MODE', home, parent);
    END LOOP;
    FOR parent, id_column IN VALUES ${PARENTS} LOOP
      partition_name := format('%I.%I', home, parent || to_char(day, '_YYYYMMDD'));
      IF to_regclass(partition_name) IS NULL THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I WHERE %I >= $1 AND %I < $2)',
                       home, parent || '_default', id_column, id_column)
          INTO wanted USING from_id, to_id;
      ELSE
        partitions := partitions || partition_name;
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', partition_name);
        wanted := false;
      END IF;
      IF wanted THEN
        RETURN false;
      END IF;
    END LOOP;
    IF partitions = '{}' THEN
      RETURN false;
    END IF;
    -- Whoever submits, requeues or ends a task of this day needs one of the tables that are locked now.
    -- A requeue that began before the survey may have been committed after it. Then the end of the task is younger.
    EXECUTE format(
      'SELECT EXISTS (SELECT FROM %1$I.unfinished WHERE id >= $1 AND id < $2)
           OR EXISTS (SELECT FROM %1$I.dlq d
                      WHERE d.task_id >= $1 AND d.task_id < $2 AND d.requeued_at IS NOT NULL
                        AND (d.requeued_at >= $3
                             OR EXISTS (SELECT FROM %1$I.finished f
                                        WHERE f.id = d.task_id AND f.id >= $1 AND f.id < $2 AND f.finished_at >= $3)))',
      home)
      INTO wanted USING from_id, to_id, surveyed_at;
    IF wanted THEN
      RETURN false;
    END IF;
    EXECUTE 'DROP TABLE ' || array_to_string(partitions, ', ');
    RETURN true;
  EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN false;
  END $$`;
