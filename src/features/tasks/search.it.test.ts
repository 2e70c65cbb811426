import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { createApiFixture, type ApiFixture } from '../../../test/api-fixture.ts';
import type { NewTask, TaskStatus } from '../../core/task.ts';

let api: ApiFixture;
beforeAll(async () => {
  api = await createApiFixture();
});

type Item = Record<string, unknown> & { readonly id: string };

/** Reads all pages of a list by following the cursors. */
async function pages(query: string, of: Pick<ApiFixture, 'get'> = api): Promise<string[][]> {
  const all: string[][] = [];
  for (let cursor: string | null | undefined = ''; typeof cursor === 'string';) {
    const { status, body } = await of.get(`/tasks?${query}${cursor === '' ? '' : `&cursor=${cursor}`}`);
    expect(status).toBe(200);
    all.push((body.items as Item[]).map(({ id }) => id));
    cursor = body.next_cursor;
  }
  return all;
}

const idsOf = async (query: string): Promise<string[]> => (await pages(query)).flat();

async function submitWithKey(key: string, changes: Partial<NewTask> = {}): Promise<string> {
  const task = api.tasks.newTask(changes);
  const idempotency = { key, requestHash: Buffer.from(task.id), answer: '{}' };
  await api.tasks.store.submitAll([{ task, idempotency }], { names: [task.queue], most: 1_000 });
  return task.id;
}

describe('metadata', () => {
  it('finds the tasks that have all given members, newest first', async () => {
    const queue = 'labelled';
    const one = await api.tasks.submit({ queue, metadata: { customer: '1', team: 'a' } });
    const both = await api.tasks.submit({ metadata: { customer: '1', team: 'b' } });
    await api.tasks.submit({ queue, metadata: { customer: '2', team: 'a' } });
    await api.tasks.submit({ queue, metadata: { team: '1' } });
    await api.tasks.submit({ queue });
    expect(await idsOf('metadata.customer=1')).toEqual([both, one]);
    expect(await idsOf('metadata.customer=1&metadata.team=b')).toEqual([both]);
    expect(await idsOf('metadata.team=b&metadata.customer=1')).toEqual([both]);
    expect(await idsOf('metadata.customer=1&metadata.team=c')).toEqual([]);
    expect(await idsOf('metadata.customer=1&metadata.more=1')).toEqual([]);
    expect(await idsOf('metadata.Customer=1')).toEqual([]);
    expect(await idsOf(`metadata.customer=1&queue=${queue}`)).toEqual([one]);
  });

  it('compares whole values, also those that are longer than what the index has of them', async () => {
    const long = '\u{1F600}'.repeat(200);
    const [a, b] = [
      await api.tasks.submit({ metadata: { url: `${long}a`, same: long } }),
      await api.tasks.submit({ metadata: { url: `${long}b`, same: long } }),
    ];
    const at = (end: string): string => `metadata.url=${encodeURIComponent(long + end)}`;
    const same = `metadata.same=${encodeURIComponent(long)}`;
    expect(await idsOf(at('a'))).toEqual([a]);
    expect(await idsOf(at('b'))).toEqual([b]);
    expect(await idsOf(at(''))).toEqual([]);
    expect(await idsOf(same)).toEqual([b, a]);
    for (const query of [`${at('b')}&${same}`, `${same}&${at('b')}`]) expect(await idsOf(query)).toEqual([b]);
    // The page is searched for among tasks with the same beginning.
    expect(await pages(`${at('a')}&limit=1`)).toEqual([[a]]);
  });

  it.each([
    ['of any characters', 'ä b/=&?', `%_'"\\`],
    ['like numbers', '0', '1e3'],
    ['with points', 'a.b.c', '.'],
    ['empty', 'empty', ''],
    ['with white space and a line break', ' x ', ' y\n'],
    ['like properties of Object.prototype', 'constructor', 'toString'],
  ])('names and values %s', async (_what, name, value) => {
    const id = await api.tasks.submit({ metadata: { [name]: value } });
    await api.tasks.submit({ metadata: { [name]: `${value}x` } });
    expect(await idsOf(`metadata.${encodeURIComponent(name)}=${encodeURIComponent(value)}`)).toEqual([id]);
  });

  it('combines with statuses, times and all other filters', async () => {
    const metadata = { set: 'combined' };
    const at = Date.now() - 3_600_000;
    const old = await api.tasks.submit({ metadata, id: api.idAt(at) });
    const waiting = await api.tasks.submit({ metadata, action: 'mail', priority: 3, traceId: 'combined' });
    const running = await api.tasks.taskIn('PROCESSING', { metadata });
    const done = await api.tasks.taskIn('COMPLETED', { metadata });
    const failed = await api.tasks.taskIn('FAILED', { metadata, group: 'g' });
    await api.tasks.taskIn('FAILED', { group: 'g' });
    const found = (query: string) => idsOf(`metadata.set=combined&${query}`);
    expect(await found('limit=2')).toEqual([failed, done, running, waiting, old]);
    expect(await found('status=PENDING')).toEqual([waiting, old]);
    expect(await found('status=PROCESSING')).toEqual([running]);
    expect(await found('status=PENDING,COMPLETED')).toEqual([done, waiting, old]);
    expect(await found('status=FAILED,CANCELLED')).toEqual([failed]);
    expect(await found('status=CANCELLED')).toEqual([]);
    for (const query of ['action=mail', 'priority=Low', 'trace_id=combined'])
      expect(await found(query)).toEqual([waiting]);
    expect(await found('group=g')).toEqual([failed]);
    const later = encodeURIComponent(new Date(at + 1).toISOString());
    expect(await found(`created_before=${later}`)).toEqual([old]);
    expect(await found(`created_after=${later}&status=PENDING`)).toEqual([waiting]);
  });

  it('binds a cursor to its members, in any order', async () => {
    for (let i = 0; i < 3; i++) await api.tasks.submit({ metadata: { a: 'cursor', b: 'cursor' } });
    const { body } = await api.get('/tasks?metadata.a=cursor&metadata.b=cursor&limit=2');
    const cursor = String(body.next_cursor);
    expect((await api.get(`/tasks?metadata.b=cursor&metadata.a=cursor&cursor=${cursor}`)).body.items).toHaveLength(1);
    expect(await api.get(`/tasks?metadata.a=cursor&cursor=${cursor}`)).toMatchObject({
      status: 409,
      body: { code: 'invalid_cursor' },
    });
  });

  it('finds completed tasks whose queue does not keep them', async () => {
    const queue = 'forgetful-search';
    const task = { queue, metadata: { kept: 'no' }, group: 'forgetful' };
    const waiting = await api.tasks.submit(task);
    await api.tasks.database.run(
      { name: 'test-keep', text: 'UPDATE queues SET keep_completed = false WHERE name = $1' },
      [queue],
    );
    const done = await api.tasks.taskIn('COMPLETED', task);
    for (const query of ['metadata.kept=no', 'group=forgetful']) {
      expect(await idsOf(query)).toEqual([done, waiting]);
      expect(await idsOf(`${query}&status=COMPLETED`)).toEqual([done]);
      expect(await idsOf(`${query}&status=PENDING`)).toEqual([waiting]);
    }
  });
});

describe('group and idempotency key', () => {
  it('find the tasks that have them', async () => {
    const metadata = { from: 'keys' };
    const one = await submitWithKey('search-1', { group: 'acme', metadata });
    const two = await submitWithKey('search-2', { group: 'acme' });
    await api.tasks.submit({ group: 'ACME' });
    await submitWithKey('search-10', { metadata });
    expect(await idsOf('group=acme')).toEqual([two, one]);
    expect(await idsOf('group=acme&metadata.from=keys')).toEqual([one]);
    expect(await idsOf('idempotency_key=search-1')).toEqual([one]);
    expect(await idsOf('idempotency_key=search-1&group=acme&metadata.from=keys&status=PENDING')).toEqual([one]);
    expect(await idsOf('idempotency_key=search-1&group=other')).toEqual([]);
    expect(await idsOf('idempotency_key=search-2&metadata.from=keys')).toEqual([]);
    expect(await idsOf('idempotency_key=search-1&status=COMPLETED')).toEqual([]);
    expect(await idsOf('idempotency_key=search')).toEqual([]);
  });

  it('find every task under a key that was used again after it had expired', async () => {
    const first = await submitWithKey('again');
    await api.tasks.database.run(
      { name: 'test-expire', text: `UPDATE idempotency_keys SET expires_at = now() WHERE key = 'again'` },
      [],
    );
    const second = await submitWithKey('again');
    expect(await idsOf('idempotency_key=again')).toEqual([second, first]);
  });

  it('shows the group', async () => {
    const id = await api.tasks.submit({ group: 'shown' });
    expect((await api.get('/tasks?group=shown')).body.items).toMatchObject([{ id, group: 'shown' }]);
    expect((await api.get(`/tasks/${id}`)).body).toMatchObject({ group: 'shown' });
  });
});

it('with little time continues the search at the cursor, and has no gaps or repeats', async () => {
  const hurried = await createApiFixture({ search: { sliceRows: 4, searchMs: 0 } });
  const ids: string[] = [];
  for (let i = 0; i < 9; i++)
    ids.push(
      await hurried.tasks.taskIn(i % 4 === 0 ? 'COMPLETED' : 'PENDING', {
        group: 'many',
        metadata: { all: 'x', third: String(i % 3), note: `${'n'.repeat(200)}${i}` },
      }),
    );
  const expected = (fits: (i: number) => boolean) => ids.filter((_, i) => fits(i)).toReversed();
  const found = async (query: string) => (await pages(query, hurried)).flat();
  const note = (i: number): string => `metadata.note=${'n'.repeat(200)}${i}`;
  for (const query of ['metadata.all=x', 'group=many', 'metadata.all=x&limit=2', 'group=many&limit=3'])
    expect(await found(query)).toEqual(ids.toReversed());
  for (const query of ['metadata.all=x&metadata.third=1', 'metadata.third=1&group=many', 'group=many&metadata.third=1'])
    expect(await found(query)).toEqual(expected((i) => i % 3 === 1));
  for (const query of ['metadata.all=x', 'group=many'])
    expect(await found(`${query}&status=COMPLETED&limit=1`)).toEqual(expected((i) => i % 4 === 0));
  // All notes begin in the same way, so the search looks at four tasks a page.
  expect(await pages(note(0), hurried)).toEqual([[], [], [ids[0]]]);
  expect(await pages(note(8), hurried)).toEqual([[ids[8]], [], []]);
});

describe('any filter', () => {
  interface Known {
    readonly id: string;
    readonly status: TaskStatus;
    readonly queue: string;
    readonly group: string | null;
    readonly metadata: Readonly<Record<string, string>> | null;
  }

  const STATUSES = ['PENDING', 'SCHEDULED', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED'] as const;
  /** Values of `a` and `b`: the long ones have the same pair. */
  const VALUES = ['0', '1', `${'v'.repeat(200)}0`, `${'v'.repeat(200)}1`];
  const known: Known[] = [];
  let hurried: ApiFixture;

  beforeAll(async () => {
    hurried = await createApiFixture({ search: { sliceRows: 5, searchMs: 0 } });
    for (let i = 0; i < 72; i++) {
      const status = STATUSES[i % STATUSES.length] as TaskStatus;
      const metadata = { a: VALUES[i % 4] as string, ...(i % 5 === 0 ? {} : { b: VALUES[(i >> 2) % 4] as string }) };
      const group = i % 3 === 0 ? null : `g${i % 7}`;
      const task = { queue: `q${(i >> 1) % 2}`, group, metadata: i % 11 === 0 ? null : metadata };
      known.push({ ...task, status, id: await hurried.tasks.taskIn(status, task) });
    }
  });

  const optional = <Value>(of: fc.Arbitrary<Value>) => fc.option(of, { nil: undefined, freq: 2 });
  const filters = fc.record({
    a: optional(fc.constantFrom(...VALUES)),
    b: optional(fc.constantFrom(...VALUES)),
    group: optional(fc.constantFrom('g1', 'g2', 'g8')),
    queue: optional(fc.constantFrom('q0', 'q1')),
    status: optional(fc.subarray([...STATUSES], { minLength: 1 })),
    limit: fc.constantFrom(1, 7, 100),
  });

  it('finds exactly the tasks that match it, in the order of their ids', async () => {
    await fc.assert(
      fc.asyncProperty(filters, async ({ a, b, group, queue, status, limit }) => {
        const given = Object.entries({ 'metadata.a': a, 'metadata.b': b, group, queue, status: status?.join(',') });
        const query = new URLSearchParams({ limit: String(limit) });
        for (const [name, value] of given) if (value !== undefined) query.set(name, value);
        const matching = known.filter(
          (task) =>
            (a === undefined || task.metadata?.['a'] === a) &&
            (b === undefined || task.metadata?.['b'] === b) &&
            (group === undefined || task.group === group) &&
            (queue === undefined || task.queue === queue) &&
            (status === undefined || status.includes(task.status)),
        );
        expect((await pages(query.toString(), hurried)).flat()).toEqual(matching.map(({ id }) => id).toReversed());
      }),
      { numRuns: 100 },
    );
  });
});
