import { beforeAll, describe, expect, it } from 'vitest';
import { withConnection } from '../../../scripts/stores/postgres.ts';
import { createTestStores, type TestStores } from '../../../test/harness/stores.ts';
import { startApi, type RunningApi } from '../../../test/running-api.ts';

let stores: TestStores;
let api: RunningApi;
let serial = 0;

beforeAll(async () => {
  stores = await createTestStores();
  api = await startApi(stores.env);
});

const newKey = () => `locked-${++serial}`;
const withKey = (key: string) => ({ 'idempotency-key': key });
const INSERT_KEY = `INSERT INTO idempotency_keys (client, queue, key, request_hash, task_id, answer, expires_at)
  VALUES ('', 'default', $1, '', gen_random_uuid(), '{}', now() + interval '1 hour')`;

/** Runs `body` while another session holds the locks of a statement. */
const whileHeld = (statement: string, values: unknown[], body: () => Promise<void>): Promise<void> =>
  withConnection(stores.databaseUrl, async (client) => {
    await client.query('BEGIN');
    await client.query(statement, values);
    try {
      await body();
    } finally {
      await client.query('ROLLBACK');
    }
  });

const post = (key?: string) => api.post('/tasks', { payload: ++serial }, key === undefined ? {} : withKey(key));
const statusesOf = async (replies: readonly Promise<{ status: number }>[]): Promise<number[]> =>
  (await Promise.all(replies)).map(({ status }) => status);

describe('a key that another session has locked', () => {
  it.each(['not committed yet', 'a locked row'])('does not make other submissions fail: %s', async (how) => {
    const key = newKey();
    if (how === 'a locked row') {
      // The key has expired, so the submission takes it over when the lock is released.
      await api.rows(INSERT_KEY.replace(`'1 hour'`, `'-1 hour'`).replace('$1', `'${key}'`));
    }
    const hold = how === 'not committed yet' ? INSERT_KEY : `SELECT FROM idempotency_keys WHERE key = $1 FOR UPDATE`;
    let locked: ReturnType<typeof post> | undefined;
    await whileHeld(hold, [key], async () => {
      const sinceMs = performance.now();
      locked = post(key);
      const keyless = Array.from({ length: 9 }, () => post());
      const keyed = Array.from({ length: 3 }, () => post(newKey()));
      expect(await statusesOf([...keyless, ...keyed])).toEqual(Array(12).fill(200));
      // Later submissions succeed too.
      expect(await statusesOf(Array.from({ length: 5 }, (_, i) => post(i < 2 ? newKey() : undefined)))).toEqual(
        Array(5).fill(200),
      );
      expect(performance.now() - sinceMs).toBeLessThan(4_000);
      expect(await Promise.race([locked, Promise.resolve('waits')])).toBe('waits');
    });
    // When the key is free again, the submission succeeds once.
    expect((await locked)?.status).toBe(200);
    expect(await api.rows(`SELECT FROM tasks WHERE idempotency_key = '${key}'`)).toHaveLength(1);
  });

  it('answers statement_timed_out with 503 after 5 s, and stores nothing', async () => {
    const key = newKey();
    await whileHeld(INSERT_KEY, [key], async () => {
      const [first, second] = await Promise.all([post(key), post(key)]);
      for (const reply of [first, second]) {
        expect(reply).toMatchObject({ status: 503, body: { code: 'statement_timed_out' } });
        expect(Number(reply.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
      }
    });
    expect(await api.rows(`SELECT FROM tasks WHERE idempotency_key = '${key}'`)).toHaveLength(0);
  });

  it('does not hold up a submission with the same key to another queue', async () => {
    const key = newKey();
    await whileHeld(INSERT_KEY, [key], async () => {
      const sinceMs = performance.now();
      const locked = post(key);
      const other = await api.post('/tasks', { payload: 1, queue: `other-${++serial}` }, withKey(key));
      expect(other.status).toBe(200);
      expect(performance.now() - sinceMs).toBeLessThan(4_000);
      expect((await locked).status).toBe(503);
    });
  });

  it('in a batch with a new queue does not block other submissions to that queue', async () => {
    const key = newKey();
    const queue = `new-${++serial}`;
    await whileHeld(INSERT_KEY.replace('default', queue), [key], async () => {
      const batch = api.post('/tasks/batch', { tasks: [{ payload: 1, queue, idempotency_key: key }] });
      const other = api.post('/tasks', { payload: 2, queue });
      expect((await other).status).toBe(200);
      expect(await batch).toMatchObject({ status: 503, body: { code: 'statement_timed_out' } });
    });
  });
});
