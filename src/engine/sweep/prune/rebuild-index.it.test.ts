import { beforeEach, describe, expect, it } from 'vitest';
import { withConnection } from '../../../../scripts/stores/postgres.ts';
import { untilTrue } from '../../../../test/harness/processes.ts';
import { createTestStores, type TestStores } from '../../../../test/harness/stores.ts';
import { openSweepParts, type SweepTestParts } from '../../../../test/harness/sweeping.ts';
import { insertTasks } from '../../../../test/harness/task-rows.ts';
import { createLogger } from '../../../telemetry/logger.ts';
import type { LeaseGrant } from '../lease-store.ts';

const MIB = 1024 * 1024;
let stores: TestStores;
let parts: SweepTestParts;

beforeEach(async () => {
  stores = await createTestStores();
  parts = await openSweepParts(stores.env);
});

const execute = (text: string) => withConnection(stores.databaseUrl, (client) => client.query(text));

/** Writes, and makes the session report at once how many rows it wrote. Otherwise it may do so after a VACUUM. */
const write = (text: string) => execute(`${text}; SELECT pg_stat_force_next_flush()`);

/** Adds running tasks of as many workers with long names, so that few rows make a large index. */
const run = (tasks: number) =>
  write(
    insertTasks(
      {
        id: 'gen_random_uuid()',
        status: `'PROCESSING'`,
        worker_id: `(SELECT string_agg(md5(i || ' ' || part), '') FROM generate_series(1, 15) part)`,
      },
      `FROM generate_series(1, ${tasks}) i`,
    ),
  );

/** Ends all tasks but one in 400. */
const drain = () => write(`DELETE FROM unfinished WHERE id NOT IN (SELECT id FROM unfinished ORDER BY id LIMIT 50)`);

// VACUUM waits for no snapshot, so it removes only what no snapshot needs any more.
const vacuum = () => execute('VACUUM unfinished');

interface Index {
  readonly name: string;
  readonly bytes: number;
  readonly file: number;
}

const indexes = (): Promise<Index[]> =>
  parts.sql<Index>(
    `SELECT c.relname AS name, pg_relation_size(c.oid) AS bytes, c.relfilenode::int AS file
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = 'unfinished'::regclass ORDER BY 1`,
  );

async function takeLease(): Promise<LeaseGrant> {
  const grant = await parts.sweepStore.takeLease('me', { leaseMs: 60_000, overlapMs: 0, lagMs: 0 });
  if (grant === null) throw new Error('the lease was free');
  return grant;
}

const rebuild = async () => parts.sweepStore.rebuildIndex(await takeLease());

describe('the table of unfinished tasks', () => {
  it('is vacuumed after a fixed number of changes, without a pause, and leaves room in its pages', async () => {
    const [table] = await parts.sql(`SELECT reloptions AS options FROM pg_class WHERE oid = 'unfinished'::regclass`);
    expect(table).toEqual({
      options: [
        'fillfactor=50',
        'autovacuum_vacuum_scale_factor=0',
        'autovacuum_vacuum_threshold=20000',
        'autovacuum_vacuum_cost_delay=0',
      ],
    });
  });
});

describe('the duty `indexes`', () => {
  // A VACUUM or ANALYZE of PostgreSQL's own would hold locks and snapshots at any time.
  beforeEach(async () => {
    for (const table of ['unfinished', 'submissions_other'])
      await execute(`ALTER TABLE ${table} SET (autovacuum_enabled = off)`);
  });

  it('rebuilds an index that is many times as large as its rows need, and only that one', async () => {
    await run(20_000);
    await drain();
    await vacuum();
    const before = await indexes();
    expect(before.find(({ name }) => name === 'unfinished_processing')?.bytes).toBeGreaterThan(8 * MIB);
    const lines: Record<string, unknown>[] = [];
    const log = createLogger('info', {}, { write: (line) => lines.push(JSON.parse(line)) });
    const sweeper = parts.newSweeper({ log, limits: { pruneIntervalMs: 0 } });
    expect(await sweeper.runOnce('reclaimer')).toMatchObject({ failed: [] });
    const rebuilt = (line: Record<string, unknown>): boolean => line['msg'] === 'bloated index rebuilt';
    expect(lines.filter(rebuilt)).toEqual([expect.objectContaining({ index: 'unfinished_processing' })]);
    const after = await indexes();
    expect(after.find(({ name }) => name === 'unfinished_processing')?.bytes).toBeLessThan(MIB / 8);
    const others = (all: Index[]) => all.filter(({ name }) => name !== 'unfinished_processing');
    expect(others(after)).toEqual(others(before));
    // The index serves its rows.
    expect(await parts.sql(`SELECT count(*)::int AS held FROM unfinished WHERE status = 'PROCESSING'`)).toEqual([
      { held: 50 },
    ]);
    await sweeper.runOnce('reclaimer');
    expect(lines.filter(rebuilt)).toHaveLength(1);
  });

  it('leaves a large index alone whose rows are live', async () => {
    await run(20_000);
    await vacuum();
    const before = await indexes();
    expect(Math.max(...before.map(({ bytes }) => bytes))).toBeGreaterThan(8 * MIB);
    expect(await rebuild()).toBeNull();
    expect(await indexes()).toEqual(before);
  });

  it('does not rebuild in vain while a snapshot still needs the dead rows, or before they are vacuumed', async () => {
    await run(60_000);
    await withConnection(stores.databaseUrl, async (reader) => {
      await reader.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
      await reader.query('SELECT FROM unfinished LIMIT 1');
      await drain();
      const before = await indexes();
      expect(await rebuild()).toBeNull();
      await vacuum();
      await parts.sql(`UPDATE sweeper SET until = clock_timestamp()`);
      expect(await rebuild()).toBeNull();
      expect(await indexes()).toEqual(before);
      await reader.query('ROLLBACK');
    });
    await vacuum();
    await parts.sql(`UPDATE sweeper SET until = clock_timestamp()`);
    expect(await rebuild()).toBe('unfinished_processing');
  });

  it('gives way to a writer that holds a lock for long, and rebuilds later', async () => {
    await run(20_000);
    await drain();
    await vacuum();
    const grant = await takeLease();
    await parts.database.transaction(async (inTransaction) => {
      await inTransaction({ name: '', text: `UPDATE unfinished SET progress = '1'` }, []);
      expect(await parts.sweepStore.rebuildIndex(grant)).toBeNull();
    });
    await vacuum();
    expect(await parts.sweepStore.rebuildIndex(grant)).toBe('unfinished_processing');
  });

  it('makes writers wait only until the index is rebuilt, and they succeed', async () => {
    await run(20_000);
    await drain();
    await vacuum();
    const submitted = parts.newTask();
    const waiting = `SELECT FROM pg_locks WHERE NOT granted AND relation = 'unfinished'::regclass`;
    const written = await parts.database.transaction(async (inTransaction) => {
      const [row] = await inTransaction<{ rebuilt: string }>(
        { name: '', text: 'SELECT rebuild_bloated_index() AS rebuilt' },
        [],
      );
      expect(row?.rebuilt).toBe('unfinished_processing');
      const writing = parts.submit([submitted]);
      await untilTrue(async () => (await parts.sql(waiting)).length > 0);
      return () => writing;
    });
    await written();
    expect(await parts.statusOf(submitted.id)).toBe('PENDING');
  });
});
