import { Migration } from '@mikro-orm/migrations';
import pg from 'pg';

/**
 * The first schema. `tasks` and `execution_logs` are partitioned by id, one partition per day, because ids (UUIDv7) begin
 * with the time; retention can then drop whole partitions. fillfactor leaves room for the HOT updates of start and settle.
 */
export class Migration0001Initial extends Migration {
  override up(): void {
    this.addSql(
      `CREATE TYPE task_status AS ENUM ('PENDING', 'SCHEDULED', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED')`,
    );
    this.addSql(
      `CREATE TYPE attempt_outcome AS ENUM ('COMPLETED', 'RETRIED', 'FAILED', 'CANCELLED', 'RELEASED', 'LOST')`,
    );

    this.addSql(`
      CREATE TABLE tasks (
        id                  uuid        NOT NULL PRIMARY KEY,
        queue               text        NOT NULL,
        action              text,
        payload             json        NOT NULL,
        priority            smallint    NOT NULL CHECK (priority BETWEEN 1 AND 3),
        status              task_status NOT NULL,
        place_ms            bigint      NOT NULL,
        run_at              timestamptz NOT NULL,
        execution_time      double precision,
        attempt             integer     NOT NULL DEFAULT 0,
        failures            integer     NOT NULL DEFAULT 0,
        lost                integer     NOT NULL DEFAULT 0,
        max_retries         integer     NOT NULL,
        backoff             json,
        timeout_ms          bigint      NOT NULL,
        metadata            json,
        idempotency_key     text,
        trace_id            text        NOT NULL,
        traceparent         text,
        worker_id           text,
        started_at          timestamptz,
        cancel_requested_at timestamptz,
        progress            json,
        finished_at         timestamptz,
        CONSTRAINT tasks_finished CHECK ((finished_at IS NOT NULL) = (status IN ('COMPLETED', 'FAILED', 'CANCELLED'))),
        CONSTRAINT tasks_worker CHECK ((worker_id IS NOT NULL) = (status = 'PROCESSING'))
      ) PARTITION BY RANGE (id)`);
    this.addSql(`CREATE INDEX tasks_waiting ON tasks (run_at, id) WHERE status IN ('PENDING', 'SCHEDULED')`);
    this.addSql(`CREATE INDEX tasks_processing ON tasks (worker_id) WHERE status = 'PROCESSING'`);

    this.addSql(`
      CREATE TABLE execution_logs (
        task_id     uuid        NOT NULL,
        attempt     integer     NOT NULL,
        worker_id   text        NOT NULL,
        started_at  timestamptz NOT NULL,
        ordinal     integer     NOT NULL,
        finished_at timestamptz,
        outcome     attempt_outcome,
        error       json,
        result      json,
        PRIMARY KEY (task_id, attempt),
        CONSTRAINT execution_logs_finished CHECK ((finished_at IS NOT NULL) = (outcome IS NOT NULL))
      ) PARTITION BY RANGE (task_id)`);

    this.addSql(`
      CREATE TABLE dlq (
        task_id     uuid        NOT NULL,
        attempt     integer     NOT NULL,
        queue       text        NOT NULL,
        action      text,
        priority    smallint    NOT NULL,
        reason      text        NOT NULL CHECK (reason IN ('retries_exhausted', 'final_error', 'lost_cap')),
        errors      json        NOT NULL,
        failed_at   timestamptz NOT NULL,
        requeued_at timestamptz,
        PRIMARY KEY (task_id, attempt)
      )`);
    this.addSql(`CREATE INDEX dlq_open ON dlq (failed_at, task_id) WHERE requeued_at IS NULL`);
    // Lists of requeued dead letters and of all dead letters use this index.
    this.addSql(`CREATE INDEX dlq_failed ON dlq (failed_at, task_id)`);

    this.addSql(`
      CREATE TABLE queues (
        name       text        NOT NULL PRIMARY KEY,
        paused     boolean     NOT NULL DEFAULT false,
        version    bigint      NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        created_by text,
        used_at    timestamptz NOT NULL DEFAULT clock_timestamp()
      )`);
    this.addSql(`INSERT INTO queues (name) VALUES ('default')`);

    this.addSql(`
      CREATE TABLE idempotency_keys (
        scope        text        NOT NULL,
        key          text        NOT NULL,
        request_hash bytea       NOT NULL,
        task_id      uuid        NOT NULL,
        answer       json        NOT NULL,
        expires_at   timestamptz NOT NULL,
        PRIMARY KEY (scope, key)
      )`);
    this.addSql(`CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at)`);

    this.addSql(`
      CREATE TABLE sweeper (
        id                      smallint    NOT NULL PRIMARY KEY CHECK (id = 1),
        holder                  text        NOT NULL DEFAULT '',
        pass                    bigint      NOT NULL DEFAULT 0,
        until                   timestamptz NOT NULL DEFAULT '-infinity',
        watermark               timestamptz NOT NULL DEFAULT '-infinity',
        cursors                 json        NOT NULL DEFAULT '{}',
        last_success_at         timestamptz,
        reclaimer_success_at    timestamptz,
        passes_by_reclaimer     bigint      NOT NULL DEFAULT 0,
        passes_by_worker        bigint      NOT NULL DEFAULT 0,
        passes_by_api           bigint      NOT NULL DEFAULT 0,
        tasks_reclaimed         bigint      NOT NULL DEFAULT 0,
        tasks_buried            bigint      NOT NULL DEFAULT 0,
        duty_failures           json        NOT NULL DEFAULT '{}',
        reconciled_watermark    bigint      NOT NULL DEFAULT 0,
        reconciled_scan         bigint      NOT NULL DEFAULT 0,
        reconciled_rebuild      bigint      NOT NULL DEFAULT 0,
        reconciled_claim        bigint      NOT NULL DEFAULT 0,
        reconciled_stale        bigint      NOT NULL DEFAULT 0
      )`);
    this.addSql(`INSERT INTO sweeper (id) VALUES (1)`);

    // The migration creates the keys, so that all processes share them from the start. A key's 256 bits come from 366
    // random bits.
    this.addSql(`
      CREATE TABLE sealing_keys (
        name       text        NOT NULL PRIMARY KEY,
        key        bytea       NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp()
      )`);
    this.addSql(`
      INSERT INTO sealing_keys (name, key)
      VALUES ('cursors', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))`);

    const schema = this.config.get('schema') ?? 'public';
    this.addSql(ID_OF_DAY);
    this.addSql(ensurePartitions(schema));
    this.addSql(dropPartitions(schema));
    this.addSql(`REVOKE ALL ON FUNCTION lowest_task_id, ensure_partitions, drop_partitions_of FROM PUBLIC`);
    this.addSql(`CREATE TABLE tasks_default PARTITION OF tasks DEFAULT`);
    this.addSql(`CREATE TABLE execution_logs_default PARTITION OF execution_logs DEFAULT`);
    this.addSql(`SELECT ensure_partitions(7)`);
  }

  override down(): void {
    this.addSql(`DROP TABLE tasks, execution_logs, dlq, queues, idempotency_keys, sweeper, sealing_keys`);
    this.addSql(`DROP FUNCTION ensure_partitions, drop_partitions_of, lowest_task_id`);
    this.addSql(`DROP TYPE task_status, attempt_outcome`);
  }
}

/** PostgreSQL binds this body when it creates the function, so no search path can change what the body calls. */
const ID_OF_DAY = `
  CREATE FUNCTION lowest_task_id(at timestamptz) RETURNS uuid LANGUAGE sql STABLE STRICT
  RETURN (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid`;

/**
 * SECURITY DEFINER, so that the processes' role need not own the tables. Every name in such a function must be qualified
 * or in pg_catalog. Otherwise its caller, or a role that may create objects in the schema, could make it run other code.
 * The partitions of one day are created together or not at all. If a default partition already has rows for a day, no
 * partition is made for that day. A new partition is created apart and then attached, which does not lock out writers.
 */
const ensurePartitions = (schema: string): string => `
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
        FOR parent, id_column IN VALUES ('tasks', 'id'), ('execution_logs', 'task_id') LOOP
          partition_name := parent || to_char(day, '_YYYYMMDD');
          CONTINUE WHEN to_regclass(format('%I.%I', home, partition_name)) IS NOT NULL;
          EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I WHERE %I >= $1 AND %I < $2)',
                         home, parent || '_default', id_column, id_column)
            INTO occupied USING from_id, to_id;
          IF occupied THEN
            RAISE EXCEPTION 'occupied' USING ERRCODE = 'DT001';
          END IF;
          EXECUTE format(
            'CREATE TABLE %I.%I (LIKE %I.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05)',
            home, partition_name, home, parent);
          EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
                         home, parent, home, partition_name, from_id, to_id);
          made_of_day := made_of_day + 1;
        END LOOP;
      EXCEPTION
        WHEN SQLSTATE 'DT001' THEN
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
 * Drops the partitions of one day. The caller has checked that all their tasks may go. Since then, a task may have been
 * requeued, so the function checks once more under a lock that keeps writers out. If only one of the tables has a
 * partition for the day and the other's default partition has rows for it, nothing is dropped until those rows have been
 * deleted one by one. Returns whether the partitions were dropped.
 */
const dropPartitions = (schema: string): string => `
  CREATE FUNCTION drop_partitions_of(day date) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
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
    -- The parents come first: all other statements take their locks in this order too.
    FOREACH parent IN ARRAY ARRAY['tasks', 'execution_logs'] LOOP
      EXECUTE format('LOCK TABLE ONLY %I.%I IN ACCESS EXCLUSIVE MODE', home, parent);
    END LOOP;
    FOR parent, id_column IN VALUES ('tasks', 'id'), ('execution_logs', 'task_id') LOOP
      partition_name := format('%I.%I', home, parent || to_char(day, '_YYYYMMDD'));
      IF to_regclass(partition_name) IS NULL THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I WHERE %I >= $1 AND %I < $2)',
                       home, parent || '_default', id_column, id_column)
          INTO wanted USING from_id, to_id;
      ELSE
        partitions := partitions || partition_name;
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', partition_name);
        wanted := false;
        IF parent = 'tasks' THEN
          EXECUTE format(
            'SELECT EXISTS (SELECT FROM %s WHERE status IN (''PENDING'', ''SCHEDULED'')) OR EXISTS (SELECT FROM %s WHERE status = ''PROCESSING'')',
            partition_name, partition_name) INTO wanted;
        END IF;
      END IF;
      IF wanted THEN
        RETURN false;
      END IF;
    END LOOP;
    IF partitions = '{}' THEN
      RETURN false;
    END IF;
    EXECUTE 'DROP TABLE ' || array_to_string(partitions, ', ');
    RETURN true;
  EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN false;
  END $$`;
