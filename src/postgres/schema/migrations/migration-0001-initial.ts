import { Migration } from '@mikro-orm/migrations';
import { dropPartitions, PAST_DAYS } from './drop-function.ts';
import { rebuildBloatedIndex } from './index-function.ts';
import { DEFAULT_PARTITIONS, ensurePartitions, ID_OF_DAY, NO_STATISTICS } from './partition-functions.ts';

/**
 * The first schema. A task is written once when it is submitted (`submissions`) and once when it ends (`finished`). What
 * changes in between is a narrow row of `unfinished`, and each attempt that does not end the task is a row of `attempts`.
 * An id is in exactly one of `unfinished` and `finished`, except that a task without `keep_completed` is in neither of
 * them once it is COMPLETED.
 *
 * The tables of what stays are partitioned by id, one partition per day, because ids (UUIDv7) begin with the time;
 * retention can then drop whole partitions.
 */
export class Migration0001Initial extends Migration {
  override up(): void {
    this.addSql(
      `CREATE TYPE task_status AS ENUM ('PENDING', 'SCHEDULED', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED')`,
    );
    this.addSql(
      `CREATE TYPE attempt_outcome AS ENUM ('COMPLETED', 'RETRIED', 'FAILED', 'CANCELLED', 'RELEASED', 'LOST')`,
    );

    // What was asked. A row is never updated.
    this.addSql(`
      CREATE TABLE submissions (
        id              uuid        NOT NULL PRIMARY KEY,
        client          text,
        queue           text        NOT NULL,
        action          text,
        payload         json        NOT NULL,
        priority        smallint    NOT NULL CHECK (priority BETWEEN 1 AND 3),
        "group"         text        COLLATE "C",
        run_at          timestamptz,
        execution_time  double precision,
        max_retries     integer     NOT NULL,
        backoff         json,
        timeout_ms      bigint      NOT NULL,
        metadata        json,
        idempotency_key text        COLLATE "C",
        trace_id        text        NOT NULL,
        traceparent     text,
        keep_completed  boolean     NOT NULL DEFAULT true
      ) PARTITION BY RANGE (id)`);

    // Lists find completed tasks here that have nothing but their submission. Other tasks pay nothing for it.
    this.addSql(`CREATE INDEX submissions_not_kept ON submissions (id) WHERE NOT keep_completed`);
    // Lists find tasks by their group or key, in the order of their ids. Tasks without them pay nothing for it.
    this.addSql(`CREATE INDEX submissions_group ON submissions ("group", id) WHERE "group" IS NOT NULL`);
    this.addSql(`CREATE INDEX submissions_key ON submissions (idempotency_key, id) WHERE idempotency_key IS NOT NULL`);

    // The metadata of the submissions, for lists: a row for each member. The key gives the order of the ids. Of a value it
    // has the first 200 characters, because an entry of an index is limited to about 2,700 bytes. The submission has all.
    this.addSql(`
      CREATE TABLE metadata_pairs (
        name  text COLLATE "C" NOT NULL,
        value text COLLATE "C" NOT NULL,
        id    uuid             NOT NULL,
        PRIMARY KEY (name, value, id)
      ) PARTITION BY RANGE (id)`);

    // One narrow row for each task that has not ended. It is written often, so each page has room for new versions, and
    // it is vacuumed after a fixed number of changes.
    this.addSql(`
      CREATE TABLE unfinished (
        id                  uuid        NOT NULL PRIMARY KEY,
        queue               text        NOT NULL,
        priority            smallint    NOT NULL,
        place_ms            bigint      NOT NULL,
        "group"             text,
        limited             boolean     NOT NULL DEFAULT false,
        notify              integer     NOT NULL DEFAULT 0,
        keep_completed      boolean     NOT NULL DEFAULT true,
        status              task_status NOT NULL CHECK (status IN ('PENDING', 'SCHEDULED', 'PROCESSING')),
        run_at              timestamptz NOT NULL,
        attempt             integer     NOT NULL DEFAULT 0,
        failures            integer     NOT NULL DEFAULT 0,
        lost                integer     NOT NULL DEFAULT 0,
        worker_id           text,
        ordinal             integer,
        started_at          timestamptz,
        deadline_at         timestamptz,
        request_id          uuid,
        cancel_requested_at timestamptz,
        progress            json,
        CONSTRAINT unfinished_worker CHECK ((worker_id IS NOT NULL) = (status = 'PROCESSING'))
      ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
              autovacuum_vacuum_cost_delay = 0)`);
    this.addSql(`CREATE INDEX unfinished_waiting ON unfinished (run_at, id) WHERE status IN ('PENDING', 'SCHEDULED')`);
    this.addSql(`CREATE INDEX unfinished_processing ON unfinished (worker_id) WHERE status = 'PROCESSING'`);
    // Statistics of these columns are wrong within seconds: if all tasks ran on one worker when they were made, the planner
    // would read the whole table to find the tasks of a worker, also when a million others wait. It makes none for them.
    this.addSql(`ALTER TABLE unfinished ALTER status SET STATISTICS 0, ALTER worker_id SET STATISTICS 0`);

    // How a task ended, with its last attempt. The worker is null if no attempt ended the task; `started_at` is then the
    // start of an earlier attempt.
    this.addSql(`
      CREATE TABLE finished (
        id                  uuid        NOT NULL PRIMARY KEY,
        status              task_status NOT NULL CHECK (status IN ('COMPLETED', 'FAILED', 'CANCELLED')),
        place_ms            bigint      NOT NULL,
        limited             boolean     NOT NULL DEFAULT false,
        notify              integer     NOT NULL DEFAULT 0,
        run_at              timestamptz NOT NULL,
        attempt             integer     NOT NULL,
        failures            integer     NOT NULL,
        lost                integer     NOT NULL,
        cancel_requested_at timestamptz,
        finished_at         timestamptz NOT NULL,
        worker_id           text,
        ordinal             integer,
        started_at          timestamptz,
        outcome             attempt_outcome,
        error               json,
        result              json,
        progress            json,
        CONSTRAINT finished_attempt CHECK (
          num_nulls(worker_id, outcome) IN (0, 2) AND (worker_id IS NULL OR num_nulls(ordinal, started_at) = 0))
      ) PARTITION BY RANGE (id)`);

    // The attempts that did not end their task.
    this.addSql(`
      CREATE TABLE attempts (
        task_id     uuid            NOT NULL,
        attempt     integer         NOT NULL,
        worker_id   text            NOT NULL,
        ordinal     integer         NOT NULL,
        started_at  timestamptz     NOT NULL,
        finished_at timestamptz     NOT NULL,
        outcome     attempt_outcome NOT NULL,
        error       json,
        result      json,
        PRIMARY KEY (task_id, attempt)
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
        keep_completed boolean NOT NULL DEFAULT true,
        version    bigint      NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        created_by text,
        used_at    timestamptz NOT NULL DEFAULT clock_timestamp()
      )`);
    // Every submission looks for the queues that keep no completed tasks. They are few.
    this.addSql(`CREATE INDEX queues_not_kept ON queues (name) WHERE NOT keep_completed`);
    this.addSql(`INSERT INTO queues (name) VALUES ('default')`);

    // A key belongs to the client and the queue of its task. Clients without a name share the empty one.
    this.addSql(`
      CREATE TABLE idempotency_keys (
        client       text        COLLATE "C" NOT NULL,
        queue        text        COLLATE "C" NOT NULL,
        key          text        COLLATE "C" NOT NULL,
        request_hash bytea       NOT NULL,
        task_id      uuid        NOT NULL,
        answer       json        NOT NULL,
        expires_at   timestamptz NOT NULL,
        PRIMARY KEY (client, queue, key)
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
    this.addSql(PAST_DAYS);

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
    this.addSql(rebuildBloatedIndex(schema));
    this.addSql(
      `REVOKE ALL ON FUNCTION lowest_task_id, ensure_partitions, drop_partitions_of, rebuild_bloated_index FROM PUBLIC`,
    );
    for (const statement of DEFAULT_PARTITIONS) this.addSql(statement);
    this.addSql(`ALTER TABLE submissions ${NO_STATISTICS}`);
    this.addSql(`SELECT ensure_partitions(7)`);
    this.addSql(TASKS);
    this.addSql(EXECUTION_LOGS);
  }

  override down(): void {
    this.addSql(`DROP VIEW tasks, execution_logs`);
    this.addSql(
      `DROP TABLE submissions, metadata_pairs, unfinished, finished, attempts, dlq, queues, idempotency_keys, sweeper, past_days, sealing_keys`,
    );
    this.addSql(`DROP FUNCTION ensure_partitions, drop_partitions_of, rebuild_bloated_index, lowest_task_id`);
    this.addSql(`DROP TYPE task_status, attempt_outcome`);
  }
}

/**
 * Tasks as people and reports want to see them. Nothing on a hot path reads this view. A branch for each table lets
 * PostgreSQL skip the finished tasks if only unfinished ones are wanted, because of the checks on `status`.
 */
const TASKS = `
  CREATE VIEW tasks AS
  SELECT s.id, s.queue, s.action, s.payload, s.priority, s."group", u.status, u.place_ms, u.run_at, s.execution_time, u.attempt,
         u.failures, u.lost, s.max_retries, s.backoff, s.timeout_ms, s.metadata, s.idempotency_key, s.trace_id,
         s.traceparent, u.worker_id, u.started_at, u.cancel_requested_at, u.progress, NULL::timestamptz AS finished_at
  FROM unfinished u
  JOIN submissions s ON s.id = u.id
  UNION ALL
  SELECT s.id, s.queue, s.action, s.payload, s.priority, s."group", f.status, f.place_ms, f.run_at, s.execution_time, f.attempt,
         f.failures, f.lost, s.max_retries, s.backoff, s.timeout_ms, s.metadata, s.idempotency_key, s.trace_id,
         s.traceparent, NULL, f.started_at, f.cancel_requested_at, f.progress, f.finished_at
  FROM finished f
  JOIN submissions s ON s.id = f.id
  UNION ALL
  SELECT s.id, s.queue, s.action, s.payload, s.priority, s."group", 'COMPLETED', NULL, s.run_at, s.execution_time, NULL,
         NULL, NULL, s.max_retries, s.backoff, s.timeout_ms, s.metadata, s.idempotency_key, s.trace_id,
         s.traceparent, NULL, NULL, NULL, NULL, NULL
  FROM submissions s
  WHERE NOT s.keep_completed
    AND NOT EXISTS (SELECT FROM unfinished u WHERE u.id = s.id)
    AND NOT EXISTS (SELECT FROM finished f WHERE f.id = s.id)`;

/** All attempts, those that ended their task and those that run included. */
const EXECUTION_LOGS = `
  CREATE VIEW execution_logs AS
  SELECT task_id, attempt, worker_id, started_at, ordinal, finished_at, outcome, error, result
  FROM attempts
  UNION ALL
  SELECT id, attempt, worker_id, started_at, ordinal, finished_at, outcome, error, result
  FROM finished
  WHERE worker_id IS NOT NULL
  UNION ALL
  SELECT id, attempt, worker_id, started_at, ordinal, NULL, NULL, NULL, NULL
  FROM unfinished
  WHERE status = 'PROCESSING'`;
