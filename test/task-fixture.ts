import { randomBytes } from 'node:crypto';
import { readConfig } from '../src/config/read-config.ts';
import { createIdSource } from '../src/core/ids.ts';
import type { Outcome } from '../src/core/outcome.ts';
import type { NewTask, TaskStatus } from '../src/core/task.ts';
import { createDatabase, type Database } from '../src/postgres/database.ts';
import { createLogger } from '../src/telemetry/logger.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';
import { createOutage } from '../src/telemetry/outage.ts';
import type { TestStores } from './harness/stores.ts';
import { createAdminStore, type AdminStore } from './harness/task-stores.ts';
import { createTaskStore, type TaskStore } from './harness/task-stores.ts';

/** The columns of a row of `tasks` that tests read. */
export interface FixtureRow {
  readonly status: TaskStatus;
  readonly attempt: number;
  readonly failures: number;
  readonly lost: number;
  readonly place_ms: number;
  readonly run_at: Date;
  readonly worker_id: string | null;
  readonly finished_at: Date | null;
  readonly cancel_requested_at: Date | null;
}

/** Makes tasks in any status, through the same statements that the scheduler uses. */
export interface TaskFixture {
  readonly database: Database;
  readonly store: TaskStore;
  readonly admin: AdminStore;
  newTask(overrides?: Partial<NewTask>): NewTask;
  /** Submits a task and returns its id. */
  submit(overrides?: Partial<NewTask>): Promise<string>;
  start(id: string): Promise<void>;
  /** Settles the current attempt of the task, as its worker. */
  settle(id: string, outcome: Outcome): Promise<void>;
  /** Makes a new task in the given status and returns its id. */
  taskIn(status: TaskStatus, overrides?: Partial<NewTask>): Promise<string>;
  row(id: string): Promise<FixtureRow>;
  close(): Promise<void>;
}

export const FIXTURE_WORKER = 'worker-1';
const LOST_CAP = 3;

export function createTaskFixture(stores: TestStores): TaskFixture {
  const log = createLogger('silent', {});
  const database = createDatabase(
    readConfig(stores.env),
    createOutage('postgresql', log, createMetrics(), Date.now),
    log,
  );
  const store = createTaskStore(database, 60_000);
  const admin = createAdminStore(database);
  const ids = createIdSource(Date.now, randomBytes);

  const fixture: TaskFixture = {
    database,
    store,
    admin,
    newTask: (overrides) => ({
      id: ids.next(overrides?.queue ?? 'default'),
      client: '',
      queue: 'default',
      action: null,
      payload: '{}',
      priority: 2,
      group: null,
      executionTimeSeconds: null,
      runAtMs: null,
      maxRetries: 3,
      backoff: null,
      timeoutMs: 60_000,
      metadata: null,
      traceId: 'trace',
      traceparent: null,
      ...overrides,
    }),

    async submit(overrides) {
      const task = fixture.newTask(overrides);
      await store.submitAll([{ task, idempotency: null }], { names: [task.queue], most: 1_000 });
      return task.id;
    },

    async start(id) {
      await store.start([id], FIXTURE_WORKER, LOST_CAP, true);
    },

    async settle(id, outcome) {
      const { attempt } = await fixture.row(id);
      const settlement = { id, attempt, outcome, reason: outcome.verb === 'fail' ? ('final_error' as const) : null };
      let locked = true;
      // Retry while the row is locked, as a worker does: a cancel may hold the row at this moment.
      while (locked) {
        const [result] = await store.settle(FIXTURE_WORKER, [settlement]);
        locked = result?.verdict === 'locked';
      }
    },

    async taskIn(status, overrides) {
      const id = await fixture.submit(status === 'SCHEDULED' ? { runAtMs: 1, ...overrides } : overrides);
      if (status === 'CANCELLED') await admin.cancel(id);
      if (status === 'PENDING' || status === 'SCHEDULED' || status === 'CANCELLED') return id;
      await fixture.start(id);
      if (status === 'COMPLETED') await fixture.settle(id, { verb: 'complete', result: '{"done":true}' });
      if (status === 'FAILED')
        await fixture.settle(id, { verb: 'fail', error: { name: 'Error', message: 'no luck' }, result: null });
      return id;
    },

    async row(id) {
      const text =
        'SELECT status, attempt, failures, lost, place_ms, run_at, worker_id, finished_at, cancel_requested_at FROM tasks WHERE id = $1';
      const [row] = await database.run<FixtureRow>({ name: 'fixture-row', text }, [id]);
      if (row === undefined) throw new Error(`no task ${id}`);
      return row;
    },

    close: () => database.close(),
  };
  return fixture;
}

/** Returns the id just below another, with the same time. */
export function predecessor(id: string): string {
  const last = BigInt(`0x${id.slice(24)}`);
  return id.slice(0, 24) + (last - 1n).toString(16).padStart(12, '0');
}
