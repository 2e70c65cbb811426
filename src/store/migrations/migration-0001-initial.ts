import { Migration } from '@mikro-orm/migrations';

/**
 * The first schema. `tasks` and `execution_logs` are partitioned by id, which
 * is time (UUIDv7), a partition a day, so that retention drops whole partitions.
 * fillfactor leaves room for the HOT updates of start and settle.
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
    // Lists of requeued dead letters, and of all of them, go by this one.
    this.addSql(`CREATE INDEX dlq_failed ON dlq (failed_at, task_id)`);

    this.addSql(`
      CREATE TABLE queues (
        name       text        NOT NULL PRIMARY KEY,
        paused     boolean     NOT NULL DEFAULT false,
        version    bigint      NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp()
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

    // Made here, so that all processes have the same keys from the start. 366 random bits make the 256 of a key.
    this.addSql(`
      CREATE TABLE sealing_keys (
        name       text        NOT NULL PRIMARY KEY,
        key        bytea       NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp()
      )`);
    this.addSql(`
      INSERT INTO sealing_keys (name, key)
      VALUES ('cursors', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))`);

    this.addSql(ID_OF_DAY);
    this.addSql(ENSURE_PARTITIONS);
    this.addSql(DROP_PARTITION);
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

const ID_OF_DAY = `
  CREATE FUNCTION lowest_task_id(at timestamptz) RETURNS uuid LANGUAGE sql STABLE STRICT
  AS $$ SELECT (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid $$`;

/**
 * SECURITY DEFINER: the processes' role need not own the tables. A day that
 * the default partition already holds rows of is left to it. A new partition is
 * attached, not created in place: attaching does not lock out writers.
 */
const ENSURE_PARTITIONS = `
  CREATE FUNCTION ensure_partitions(days_ahead integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '200ms'
  AS $$
  DECLARE
    parent text;
    id_column text;
    partition_name text;
    from_id uuid;
    to_id uuid;
    occupied boolean;
    made integer := 0;
    day date;
  BEGIN
    FOR parent, id_column IN VALUES ('tasks', 'id'), ('execution_logs', 'task_id') LOOP
      FOR offset_days IN 0 .. days_ahead LOOP
        day := (clock_timestamp() AT TIME ZONE 'UTC')::date + offset_days;
        partition_name := parent || to_char(day, '_YYYYMMDD');
        CONTINUE WHEN to_regclass(partition_name) IS NOT NULL;
        from_id := lowest_task_id(day::timestamp AT TIME ZONE 'UTC');
        to_id := lowest_task_id((day + 1)::timestamp AT TIME ZONE 'UTC');
        IF to_regclass(parent || '_default') IS NOT NULL THEN
          EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE %I >= $1 AND %I < $2)', parent || '_default', id_column, id_column)
            INTO occupied USING from_id, to_id;
          CONTINUE WHEN occupied;
        END IF;
        BEGIN
          EXECUTE format(
            'CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05)',
            partition_name, parent);
          EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, partition_name, from_id, to_id);
        EXCEPTION WHEN lock_not_available THEN
          -- It does lock the default partition, which statements without an id read: another time, then.
          RETURN made;
        END;
        made := made + 1;
      END LOOP;
    END LOOP;
    RETURN made;
  END $$`;

/**
 * Drops the partitions of one day, given that nothing in them is still wanted,
 * which the caller has checked. A task may have been requeued since: that is
 * looked at once more when nobody can write any more. False: not dropped.
 */
const DROP_PARTITION = `
  CREATE FUNCTION drop_partitions_of(day date) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '200ms'
  AS $$
  DECLARE
    tasks_name text := 'tasks' || to_char(day, '_YYYYMMDD');
    logs_name text := 'execution_logs' || to_char(day, '_YYYYMMDD');
    unfinished boolean;
  BEGIN
    IF to_regclass(tasks_name) IS NULL OR to_regclass(logs_name) IS NULL THEN
      RETURN false;
    END IF;
    -- The parents first, as every other statement takes its locks.
    LOCK TABLE ONLY tasks IN ACCESS EXCLUSIVE MODE;
    LOCK TABLE ONLY execution_logs IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('LOCK TABLE %I, %I IN ACCESS EXCLUSIVE MODE', tasks_name, logs_name);
    EXECUTE format(
      'SELECT EXISTS (SELECT FROM %I WHERE status IN (''PENDING'', ''SCHEDULED'')) OR EXISTS (SELECT FROM %I WHERE status = ''PROCESSING'')',
      tasks_name, tasks_name) INTO unfinished;
    IF unfinished THEN
      RETURN false;
    END IF;
    EXECUTE format('DROP TABLE %I, %I', tasks_name, logs_name);
    RETURN true;
  EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN false;
  END $$`;
