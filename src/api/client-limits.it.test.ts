import { beforeAll, describe, expect, it } from 'vitest';
import { as, clientsInFiles, type TestClient } from '../../test/harness/clients.ts';
import { createTestStores, type TestStores } from '../../test/harness/stores.ts';
import { startApi, type RunningApi } from '../../test/running-api.ts';

const CLIENTS = {
  free: {},
  rated: { limits: { ratePerMinute: 6, burst: 20 } },
  unburst: { limits: { ratePerMinute: 6 } },
  quota: { limits: { unfinishedMax: 3 } },
  other: { limits: { unfinishedMax: 3 } },
  replaying: { limits: { unfinishedMax: 2 } },
  bounded: { limits: { delayMaxMs: 60_000, timeoutMaxMs: 30_000 } },
} as const satisfies Record<string, TestClient>;
type Name = keyof typeof CLIENTS;

let stores: TestStores;
let api: RunningApi;

beforeAll(async () => {
  stores = await createTestStores();
  api = await startApi({
    ...stores.env,
    RATE_LIMIT_PER_MINUTE: '60',
    RATE_LIMIT_BURST: '1000',
    TRUSTED_PROXIES: '127.0.0.1',
    ...clientsInFiles(CLIENTS),
  });
});

const submit = (name: Name, task: object = {}, headers: Record<string, string> = {}) =>
  api.post('/tasks', { payload: 1, ...task }, { ...as(name), ...headers });
const submitBatch = (name: Name, tasks: readonly object[], headers: Record<string, string> = {}) =>
  api.post('/tasks/batch', { tasks: tasks.map((task) => ({ payload: 1, ...task })) }, { ...as(name), ...headers });
const many = (count: number): object[] => Array.from({ length: count }, () => ({}));
const from = (address: string) => ({ 'x-forwarded-for': address });
const shown = (headers: Headers) => ['limit', 'remaining'].map((name) => Number(headers.get(`ratelimit-${name}`)));
const count = async (text: string): Promise<number> => (await api.rows<{ count: number }>(text))[0]?.count ?? -1;

describe('the rate of a client', () => {
  it('counts by its name, wherever it sends from, and nobody else', async () => {
    const first = await submitBatch('rated', many(15), from('203.0.113.1'));
    expect([first.status, shown(first.headers)]).toEqual([200, [20, 5]]);
    const refused = await submitBatch('rated', many(7), from('203.0.113.2'));
    expect([refused.status, refused.body.code, shown(refused.headers)]).toEqual([429, 'rate_limited', [20, 4]]);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    const other = await submit('free', {}, from('203.0.113.1'));
    expect([other.status, shown(other.headers)]).toEqual([200, [1_000, 999]]);
  });

  it('without a burst has a bucket of one minute', async () => {
    const { headers } = await submit('unburst');
    expect(shown(headers)).toEqual([6, 5]);
  });

  it('gets tokens back for tasks that were not created', async () => {
    const key = { idempotency_key: 'once', queue: 'default' };
    const before = shown((await submitBatch('unburst', [key])).headers)[1] as number;
    // One token for the request, and the second one for the replayed task is given back.
    const { body, headers } = await submitBatch('unburst', [key, { idempotency_key: 'second' }]);
    expect(body.tasks.map(({ replayed }: { replayed: boolean }) => replayed)).toEqual([true, false]);
    expect(shown(headers)[1]).toBe(before - 1);
  });

  it('holds also where addresses have no limit', async () => {
    const unlimited = await startApi({
      ...stores.env,
      ...clientsInFiles({ slow: { limits: { ratePerMinute: 1 } }, free: {} }),
    });
    const statuses = [];
    for (const name of ['slow', 'slow', 'free', 'free', 'free']) {
      const { status, headers } = await unlimited.post('/tasks', { payload: 1 }, as(name));
      statuses.push([name, status, headers.has('ratelimit-limit')]);
    }
    expect(statuses).toEqual([
      ['slow', 200, true],
      ['slow', 429, true],
      ['free', 200, false],
      ['free', 200, false],
      ['free', 200, false],
    ]);
  });
});

describe('the quota of a client', () => {
  it('counts its unfinished tasks, and room that appears is seen', async () => {
    expect((await submit('quota')).status).toBe(200);
    const large = await submitBatch('quota', many(3));
    expect([large.status, large.body.code]).toEqual([429, 'quota_exceeded']);
    expect(large.body.detail).toBe('the client has 1 unfinished tasks, and may have 3; this request has 3');
    expect(Number(large.headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await submitBatch('quota', many(2))).status).toBe(200);
    expect((await submit('quota')).status).toBe(429);
    expect((await submit('other')).status).toBe(200);
    expect(await count(`SELECT count(*)::int AS count FROM unfinished WHERE quota_client = 'quota'`)).toBe(3);

    // Another process counts at once.
    const second = await startApi({ ...stores.env, ...clientsInFiles(CLIENTS) });
    expect((await second.post('/tasks', { payload: 1 }, as('quota'))).status).toBe(429);
    await api.rows(`DELETE FROM unfinished WHERE quota_client = 'quota'`);
    await expect.poll(async () => (await submit('quota')).status, { timeout: 10_000, interval: 200 }).toBe(200);
  });

  it('does not count replays, and what was refused', async () => {
    const key = { 'idempotency-key': 'again' };
    expect((await submit('replaying', {}, key)).status).toBe(200);
    for (let i = 0; i < 3; i++) {
      expect((await submit('replaying', {}, key)).headers.get('idempotency-replayed')).toBe('true');
      expect((await submit('replaying', { payload: 2 }, key)).status).toBe(409);
    }
    expect((await submit('replaying')).status).toBe(200);
    expect((await submit('replaying')).status).toBe(429);
  });

  it('costs other clients nothing: their tasks are in no index', async () => {
    await submit('free');
    expect(
      await count(
        `SELECT count(*)::int AS count FROM unfinished WHERE quota_client NOT IN ('quota', 'other', 'replaying')`,
      ),
    ).toBe(0);
  });
});

describe('the longest delay and time limit of a client', () => {
  const inSeconds = (seconds: number): string => new Date(Date.now() + seconds * 1_000).toISOString();
  const short = { timeout: 30 };

  it.each([
    ['no delay', short],
    ['a delay that is as long as allowed', { ...short, delay: 60 }],
    ['a time that is near enough', { ...short, run_at: inSeconds(30) }],
    ['a time in the past', { ...short, run_at: '2001-01-01T00:00:00Z' }],
  ])('allow %s', async (_what, task) => {
    expect((await submit('bounded', task)).status).toBe(200);
  });

  it.each([
    ['a delay', { ...short, delay: 60.001 }, '/delay', '<= 60 seconds'],
    ['a time', { ...short, run_at: inSeconds(3_600) }, '/run_at', '<= 60 seconds'],
    ['a time limit', { timeout: 30.001 }, '/timeout', '<= 30 seconds'],
    ['the time limit by default', {}, '/timeout', '<= 30 seconds'],
  ])('refuse %s that is too long', async (_what, task, path, expected) => {
    const before = await count('SELECT count(*)::int AS count FROM submissions');
    const { status, body } = await submit('bounded', task);
    expect([status, body.code]).toEqual([422, 'invalid_request']);
    expect(body.errors).toEqual([expect.objectContaining({ path, code: 'client_limit', expected })]);
    const batch = await submitBatch('bounded', [short, task]);
    expect(batch.body.errors).toEqual([expect.objectContaining({ path: `/tasks/1${path}`, code: 'client_limit' })]);
    expect(await count('SELECT count(*)::int AS count FROM submissions')).toBe(before);
    expect((await submit('free', task)).status).toBe(200);
  });
});
