import { beforeAll, describe, expect, it } from 'vitest';
import { statementNamed } from '../../../test/harness/assets.ts';
import { atEndOfFile } from '../../../test/harness/end-of-file.ts';
import { openParts, type TestParts } from '../../../test/harness/parts.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { createOrm, type Reader } from '../../postgres/reads/reader.ts';
import { createAuditReads, type AuditFilter } from './audit-reads.ts';

const [ROWS, SLICE, LIMIT, BATCH] = [60_000, 1_000, 50, 100];
const ANY: AuditFilter = { client: null, action: null, outcome: null, object: null, after: null, before: null };

let parts: TestParts;
let orm: ReturnType<typeof createOrm>;
beforeAll(async () => {
  parts = await openParts((await createTestStores()).env);
  orm = createOrm(parts.config);
  atEndOfFile(() => orm.close(true));
  await run('ALTER TABLE audit SET (autovacuum_enabled = false)');
});

const run = <Row extends object>(text: string, values: readonly unknown[] = []) =>
  parts.database.run<Row>({ name: '', text }, values);

const ROWS_READ = `
  SELECT (seq_tup_read + coalesce(idx_tup_fetch, 0))::int AS rows FROM pg_stat_xact_user_tables WHERE relname = 'audit'`;

/** One row a second, the last one now. */
const fill = () =>
  run(
    `INSERT INTO audit (id, at, client, action, outcome, address)
     SELECT gen_random_uuid(), now() - n * interval '1 second', 'many', 'task.cancel', 'allowed', '::1'
     FROM generate_series(1, ${ROWS}) AS n`,
  );

const STATISTICS: Readonly<Record<string, () => Promise<unknown>>> = {
  async 'made while it was empty'() {
    await run('VACUUM (ANALYZE) audit');
    await fill();
  },
  // The last rows keep the pages before them, so the planner believes that any number of pages has few rows.
  async 'made while it was almost empty'() {
    await run(`DELETE FROM audit WHERE at < (SELECT at FROM audit ORDER BY at LIMIT 1) + interval '16 hours'`);
    await run('VACUUM (ANALYZE) audit');
    await fill();
  },
  async 'made of what it has'() {
    await run('ANALYZE audit');
  },
};

/** Counts the rows that a page fetches. PostgreSQL's counters are cumulative, so it subtracts. */
async function rowsOfPage(filter: Partial<AuditFilter>, length: number): Promise<number> {
  const em = orm.em.fork();
  return em
    .getKysely()
    .transaction()
    .execute(async (transaction) => {
      const one: Pick<Reader, 'read'> = { read: (_name, query) => query(transaction) };
      const reader: Reader = { ...one, snapshot: (body) => body(one), close: async () => {} };
      const count = async (): Promise<number> => {
        const rows = await em.getConnection().execute<{ rows: number }[]>(ROWS_READ, [], 'all', transaction);
        return rows[0]?.rows ?? 0;
      };
      const before = await count();
      const reads = createAuditReads(reader, { sliceRows: SLICE, searchMs: 0 });
      const { rows } = await reads.list({ ...ANY, ...filter }, null, LIMIT);
      expect(rows).toHaveLength(length);
      return (await count()) - before;
    });
}

describe.each(Object.keys(STATISTICS))('with statistics %s', (statistics) => {
  beforeAll(async () => {
    await STATISTICS[statistics]?.();
  });

  it('a page reads one slice', async () => {
    const hourAgo = new Date(Date.now() - 3_600_000).toISOString();
    const read = await rowsOfPage({}, LIMIT);
    expect(read).toBeGreaterThanOrEqual(LIMIT);
    expect(read).toBeLessThanOrEqual(SLICE + 1);
    expect(await rowsOfPage({ before: hourAgo, client: 'many' }, LIMIT)).toBeLessThanOrEqual(SLICE + 1);
    expect(await rowsOfPage({ client: 'nobody' }, 0)).toBeLessThanOrEqual(SLICE + 1);
    expect(await rowsOfPage({ object: 'queue:mail' }, 0)).toBeLessThanOrEqual(SLICE + 1);
  });

  it('the duty reads only what it deletes', async () => {
    const [lease] = await run<{ pass: number }>(statementNamed('take-lease').text, ['test', 60_000, 15_000, 5_000]);
    await parts.database.transaction(async (within) => {
      const count = async (): Promise<number> =>
        (await within<{ rows: number }>({ name: '', text: ROWS_READ }, []))[0]?.rows ?? 0;
      const before = await count();
      const deleted = await within(statementNamed('prune-audit'), ['test', lease?.pass, 3_600_000, BATCH]);
      expect(deleted).toEqual([{ deleted: BATCH }]);
      // Once to find a row, once to lock it and once to delete it.
      expect((await count()) - before).toBeLessThanOrEqual(3 * BATCH + 1);
    });
  });
});
