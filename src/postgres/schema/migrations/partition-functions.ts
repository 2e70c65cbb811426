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
const PARTITIONED = [
  ['submissions', 'id'],
  ['metadata_pairs', 'id'],
  ['finished', 'id'],
  ['attempts', 'task_id'],
] as const;

/** The same as rows of VALUES. */
export const PARENTS = PARTITIONED.map(([parent, idColumn]) => `('${parent}', '${idColumn}')`).join(', ');

/**
 * The default partition of a table takes the ids of days without partitions, and the tasks that are moved out of a day
 * before it is dropped. The moved ones are in a partition of their week. Its check tells PostgreSQL that it has no rows of
 * a new day; without the check, all moved rows would be read, under a lock, whenever the partitions of a day are made.
 */
export const DEFAULT_PARTITIONS = PARTITIONED.flatMap(([parent, idColumn]) => [
  `CREATE TABLE ${parent}_default PARTITION OF ${parent} DEFAULT PARTITION BY RANGE (${idColumn})`,
  `CREATE TABLE ${parent}_other PARTITION OF ${parent}_default DEFAULT WITH (autovacuum_vacuum_scale_factor = 0.05)`,
]);

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
