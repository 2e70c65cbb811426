import { beforeEach, describe, expect, it } from 'vitest';
import { createTestStores } from '../../../test/harness/stores.ts';
import type { SweepQueue } from '../../../test/harness/sweeping.ts';
import type { SweepStore } from '../../../test/harness/sweeping.ts';
import { openSweepParts, type SweepTestParts } from '../../../test/harness/sweeping.ts';
import { createDay, insertTasks } from '../../../test/harness/task-rows.ts';
import { StatementTimedOutError, StoreRefusedError, StoreUnavailableError } from '../../core/errors.ts';
import { lowestIdAt } from '../../core/ids.ts';
import type { NewTask } from '../../core/task.ts';
import { createLogger, type Logger } from '../../telemetry/logger.ts';

const TTL = { HEARTBEAT_TTL: 10_000, HEARTBEAT_INTERVAL: 3_000 };
let parts: SweepTestParts;
let lines: Record<string, unknown>[];
let log: Logger;

beforeEach(async () => {
  const stores = await createTestStores();
  parts = await openSweepParts(stores.env);
  await parts.queue.setSettings('default', { version: 1, paused: false });
  await parts.gapEnded(3_600_000);
  // The first pass declares Redis whole, so that later passes have nothing else to do.
  await parts.newSweeper({ settings: TTL }).runOnce('worker');
  lines = [];
  log = createLogger('info', {}, { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) });
});

/** Runs an action while another session locks a table. */
async function whileLocked<Result>(table: string, body: () => Promise<Result>): Promise<Result> {
  return parts.database.transaction(async (run) => {
    await run({ name: `test-lock-${table}`, text: `LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE` }, []);
    return body();
  });
}

async function withDeadWorker(workerId: string, tasks: number): Promise<NewTask[]> {
  const submitted = Array.from({ length: tasks }, () => parts.newTask());
  await parts.submit(submitted);
  await parts.start(workerId);
  await parts.beaten(workerId, 60_000);
  return submitted;
}

interface SweeperRow {
  readonly passes: number;
  readonly free: boolean;
  readonly cursors: { scan?: { members?: unknown }; rested?: Record<string, number> };
  readonly duty_failures: Record<string, number>;
}

async function sweeperRow(): Promise<SweeperRow> {
  const [row] = await parts.sql<Omit<SweeperRow, 'cursors' | 'duty_failures'> & Record<string, string>>(
    `SELECT passes_by_reclaimer AS passes, until < clock_timestamp() AS free, cursors, duty_failures FROM sweeper`,
  );
  if (row === undefined) throw new Error('there is no row');
  return { ...row, cursors: JSON.parse(row['cursors'] ?? ''), duty_failures: JSON.parse(row['duty_failures'] ?? '') };
}

const oldTask = async (daysAgo: number): Promise<string> => {
  const id = `${lowestIdAt(Date.now() - daysAgo * 86_400_000).slice(0, -1)}1`;
  const finished_at = `now() - $2 * interval '1 day'`;
  await parts.sql(insertTasks({ id: '$1::uuid', status: `'COMPLETED'`, finished_at }), [id, daysAgo]);
  return id;
};

describe('a duty that fails', () => {
  it('because a statement times out is logged by name and counted, and the pass ends properly', async () => {
    const old = await oldTask(100);
    const sweeper = parts.newSweeper({ settings: TTL, log });
    const result = await whileLocked('idempotency_keys', () => sweeper.runOnce('reclaimer'));
    expect(result).toMatchObject({ failed: ['keys'], well: true, pruned: { keys: 0, tasks: 1 } });
    expect(await parts.statusOf(old)).toBeNull();
    expect(lines).toEqual([
      expect.objectContaining({ level: 'warn', duty: 'keys', msg: 'duty failed, the others go on' }),
    ]);
    const row = await sweeperRow();
    expect(row).toMatchObject({ passes: 1, free: true, duty_failures: { keys: 1 } });
    // The cursors are kept. The duty that failed rests, so that it does not delay every pass.
    expect(Object.keys(row.cursors.rested ?? {}).toSorted()).toEqual([
      'expire-queues',
      'indexes',
      'keys',
      'partitions',
      'prune',
      'prune-audit',
      'prune-rows',
      'prune-sessions',
    ]);
  });

  it('repeatedly is logged once, and once more when it succeeds again, but every failure is counted', async () => {
    const sweeper = parts.newSweeper({ settings: TTL, log, limits: { pruneIntervalMs: 0 } });
    await whileLocked('idempotency_keys', async () => {
      await sweeper.runOnce('reclaimer');
      await sweeper.runOnce('reclaimer');
    });
    await sweeper.runOnce('reclaimer');
    expect(lines.map(({ msg, failures }) => [msg, failures])).toEqual([
      ['duty failed, the others go on', undefined],
      ['duty succeeds again', 2],
    ]);
    expect((await sweeperRow()).duty_failures).toEqual({ keys: 2 });
  });

  it('before reclaim does not prevent reclaim, so that tasks come back while the queues are locked', async () => {
    await withDeadWorker('dead.1', 20);
    const sweeper = parts.newSweeper({ settings: TTL, log });
    const result = await whileLocked('queues', () => sweeper.runOnce('reclaimer'));
    expect(result).toMatchObject({ reclaimed: 20, failed: ['queues'], well: false });
    expect(await parts.queue.counts('default')).toMatchObject({ ready: 20, inflight: 0 });
    // A pass that could not look at the queues is not successful. Monitoring relies on that.
    expect(await sweeperRow()).toMatchObject({ passes: 0, free: true, duty_failures: { queues: 1 } });
    expect(await sweeper.runOnce('reclaimer')).toMatchObject({ failed: [], well: true });
    expect(await sweeperRow()).toMatchObject({ passes: 1 });
  });

  it.each<[keyof SweepQueue, string]>([
    ['look', 'queues'],
    ['silences', 'reclaim'],
    ['missing', 'watermark'],
    ['scanMembers', 'scan-members'],
  ])('because Redis refuses %s (%s) does not keep other duties from running', async (call, duty) => {
    // Redis does not know this task, so that the watermark and the scan find it.
    await parts.store.submit([{ task: parts.newTask(), idempotency: null }]);
    const old = await oldTask(100);
    const sweepQueue = {
      ...parts.sweepQueue,
      [call]: () => Promise.reject(new StoreRefusedError(new Error('NOPERM'))),
    };
    const sweeper = parts.newSweeper({ settings: TTL, log, sweepQueue });
    const result = await sweeper.runOnce('reclaimer');
    expect(result?.failed).toContain(duty);
    expect(result).toMatchObject({ well: false, pruned: { tasks: 1 } });
    expect(await parts.statusOf(old)).toBeNull();
    if (call !== 'missing') expect(result?.reconciled.watermark).toBe(1);
    expect(await sweeperRow()).toMatchObject({ passes: 0, free: true });
    expect(lines.filter(({ level }) => level === 'error').map((line) => line['duty'])).toContain(duty);
  });

  it('at one past day does not block the other days or the deletion of single rows', async () => {
    const dayOf = (daysAgo: number): string =>
      new Date(Date.now() - daysAgo * 86_400_000).toISOString().slice(0, 10).replaceAll('-', '');
    for (const daysAgo of [60, 40]) {
      for (const statement of createDay(dayOf(daysAgo))) await parts.sql(statement);
      await oldTask(daysAgo);
    }
    const slow = new Date(Date.now() - 60 * 86_400_000).toISOString().slice(0, 10);
    const store: SweepStore = {
      ...parts.sweepStore,
      surveyDay: (grant, day, ...rest) =>
        day === slow
          ? Promise.reject(new StatementTimedOutError(new Error('too slow'), 'survey-day'))
          : parts.sweepStore.surveyDay(grant, day, ...rest),
    };
    const sweeper = parts.newSweeper({ settings: TTL, log, store, limits: { pruneIntervalMs: 0 } });
    expect(await sweeper.runOnce('reclaimer')).toMatchObject({ failed: ['prune'], pruned: { days: 0 } });
    expect(await sweeper.runOnce('reclaimer')).toMatchObject({ failed: [], pruned: { days: 1, tasks: 1 } });
    const left = await parts.sql<{ name: string }>(`SELECT inhrelid::regclass::text AS name FROM pg_inherits`);
    expect(left.map(({ name }) => name)).toContain(`submissions_${dayOf(60)}`);
    expect(left.map(({ name }) => name)).not.toContain(`submissions_${dayOf(40)}`);
  });

  it('for one dead worker does not block the tasks of another', async () => {
    await withDeadWorker('dead.1', 3);
    await withDeadWorker('dead.2', 3);
    await parts.sql(
      `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
       AS $$ BEGIN RAISE check_violation USING MESSAGE = 'this one is not taken back'; END $$`,
    );
    await parts.sql(
      `CREATE TRIGGER refuse BEFORE UPDATE ON unfinished FOR EACH ROW WHEN (old.worker_id = 'dead.1') EXECUTE FUNCTION refuse()`,
    );
    const result = await parts.newSweeper({ settings: TTL, log }).runOnce('reclaimer');
    expect(result).toMatchObject({ reclaimed: 3, failed: ['reclaim'], well: false });
    expect(lines.filter(({ duty }) => duty === 'reclaim')).toEqual([
      expect.objectContaining({ level: 'error', duty: 'reclaim' }),
    ]);
  });
});

describe('a pass that fails as a whole', () => {
  it('is counted if Redis refuses, but not if Redis is unavailable', async () => {
    const failing = (error: Error) => {
      const beat = async (): Promise<void> => {
        throw error;
      };
      return parts.newSweeper({ sweepQueue: { ...parts.sweepQueue, beat }, log });
    };
    const away = new StoreUnavailableError('redis', new Error('ECONNREFUSED'));
    await expect(failing(away).runOnce('reclaimer')).rejects.toThrow('ECONNREFUSED');
    expect((await sweeperRow()).duty_failures).toEqual({});
    const refused = new StoreRefusedError(new Error('NOPERM'));
    await expect(failing(refused).runOnce('reclaimer')).rejects.toThrow('NOPERM');
    expect((await sweeperRow()).duty_failures).toEqual({ pass: 1 });
  });
});
