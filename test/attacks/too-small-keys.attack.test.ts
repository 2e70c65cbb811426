import { beforeAll, describe, expect, it } from 'vitest';
import { makeSecret } from '../../src/core/access/secret.ts';
import { atEndOfFile } from '../harness/end-of-file.ts';
import { createTestStores } from '../harness/stores.ts';
import { createTaskFixture } from '../task-fixture.ts';
import { besiege, type Attack, type BesiegedApi, type Loot } from './besieged-api.ts';

/**
 * Everything worth stealing is in two queues. The attackers name the first one, `vault`, in their requests. They do not
 * know the second one, so its name must not be in any answer.
 */
const CLIENTS = {
  owner: { role: 'admin' },
  viewer: { role: 'viewer', queues: ['vault'] },
  submitter: { role: 'submitter', queues: ['vault'] },
  worker: { role: 'worker', queues: ['vault', 'cellar-canary'] },
  metrics: { scopes: ['metrics'] },
  elsewhere: { scopes: ['submit', 'read', 'payload', 'operate', 'work'], queues: ['vault.*', 'vaul', 'other'] },
  nowhere: { scopes: ['submit', 'read', 'payload', 'operate', 'work'], queues: [] },
} as const;

const CONTENTS = ['payload-canary', 'error-canary', 'stack-canary', 'result-canary', 'progress-canary'];
const HIDDEN_QUEUE = 'cellar-canary';

let api: BesiegedApi;
let pending: string;
let failed: string;
let scheduled: string;

beforeAll(async () => {
  const stores = await createTestStores();
  const tasks = createTaskFixture(stores);
  atEndOfFile(() => tasks.close());
  const contents = { payload: '{"card":"payload-canary"}' };
  [pending, scheduled, failed] = await Promise.all([
    tasks.taskIn('PENDING', { queue: 'vault', ...contents }),
    tasks.taskIn('SCHEDULED', { queue: 'vault', runAtMs: Date.now() + 3_600_000, ...contents }),
    tasks.submit({ queue: 'vault', ...contents }),
  ]);
  await tasks.start(failed);
  const error = { name: 'Error', message: 'error-canary', stack: 'Error: error-canary\n at stack-canary.js:1:1' };
  await tasks.settle(failed, { verb: 'fail', error, result: '{"is":"result-canary"}' });
  await tasks.taskIn('FAILED', { queue: HIDDEN_QUEUE, ...contents });
  api = await besiege(stores, CLIENTS);
});

const reads = (): Attack[] => [
  ...['', '?queue=vault', '?limit=1', '?status=FAILED', '?trace_id=trace', '?include=payload'].map((q): Attack => [
    'GET',
    `/tasks${q}`,
  ]),
  ['GET', `/tasks/${failed}`],
  ['GET', `/tasks/${pending}`],
  ['GET', `/tasks/${failed}/logs`],
  ['HEAD', `/tasks/${failed}`],
  ...['', '?queue=vault'].map((q): Attack => ['GET', `/dlq${q}`]),
  ['GET', `/dlq/${failed}`],
  ['GET', '/queues'],
  ['GET', '/queues/vault'],
  ['GET', '/stats'],
  ['GET', '/workers'],
];

const operations = (): Attack[] => [
  ['POST', `/tasks/${pending}/cancel`],
  ['POST', `/tasks/${scheduled}/cancel`, {}],
  ['POST', `/dlq/${failed}/requeue`, {}],
  ['POST', '/dlq/requeue', { filter: { queue: 'vault' } }],
  ['POST', '/dlq/requeue', { filter: { queue: 'vault' }, dry_run: true }],
  ['POST', '/dlq/requeue', { filter: { queue: 'vault', error_contains: 'error-canary' }, dry_run: true }],
  ['POST', '/queues/vault/pause'],
  ['POST', '/queues/vault/resume', {}],
  ['PUT', '/queues/vault', { keep_completed: false }],
  ['DELETE', '/queues/vault'],
];
const requeueAll: Attack = ['POST', '/dlq/requeue', { filter: {} }];

const submissions = (): Attack[] => [
  ['POST', '/tasks', { payload: 1, queue: 'vault' }],
  ['POST', '/tasks/batch', { tasks: [{ payload: 1, queue: 'vault' }] }],
];

const administration = (): Attack[] => [
  ['POST', `/tasks/${pending}/reveal`, {}],
  ['GET', '/clients'],
  ['GET', '/clients?revoked=true'],
  ['GET', '/clients/owner'],
  ['POST', '/clients', { name: 'mallory', role: 'admin' }],
  ['PATCH', '/clients/owner', { role: 'viewer' }],
  ['PATCH', '/clients/viewer', { role: 'admin' }],
  ['POST', '/clients/owner/rotate', { overlap: 0 }],
  ['DELETE', '/clients/owner/secrets/abcdefgh'],
  ['DELETE', '/clients/owner'],
  ['GET', '/audit'],
  ['GET', '/audit?client=owner&object=queue:vault'],
];
const metrics: Attack = ['GET', '/metrics'];

/** Sends attacks, all at once. Returns the answers that did not refuse, and checks that nothing has changed. */
async function survive(
  sender: Parameters<BesiegedApi['send']>[0],
  attacks: readonly Attack[],
  refusals: readonly number[],
): Promise<{ got: string[]; loot: Loot[] }> {
  const before = await api.tables();
  const loot = await Promise.all(attacks.map((attack) => api.send(sender, ...attack)));
  expect(await api.tables()).toEqual(before);
  const got = attacks.flatMap(([method, path], i) => {
    const status = loot[i]?.status ?? 0;
    return refusals.includes(status) ? [] : [`${status} ${method} ${path}`];
  });
  return { got, loot };
}

const found = (loot: readonly Loot[], words: readonly string[]): string[] =>
  loot.flatMap(({ text }) => words.filter((word) => text.includes(word)));

const everything = (): Attack[] => [
  ...reads(),
  ...operations(),
  requeueAll,
  ...submissions(),
  ...administration(),
  ['GET', '/clients/self'],
  metrics,
];

it('the attacks are real: the owner gets what they are after', async () => {
  const [task, dead, list, figures] = await Promise.all([
    api.send('owner', 'GET', `/tasks/${failed}`),
    api.send('owner', 'GET', `/dlq/${failed}`),
    api.send('owner', 'GET', '/queues'),
    api.send('owner', ...metrics),
  ]);
  expect(task.text).toContain('payload-canary');
  expect(dead.text).toContain('error-canary');
  expect(list.text).toContain(HIDDEN_QUEUE);
  expect(figures.text).toContain(HIDDEN_QUEUE);
});

describe.each([
  ['without a key', null],
  ['with a key that nobody has', { authorization: `Bearer ${makeSecret((size) => Buffer.alloc(size, 7)).text}` }],
])('%s', (_, sender) => {
  it('everything is refused with 401, nothing is changed, and nothing is shown', async () => {
    const { got, loot } = await survive(sender, everything(), [401]);
    expect(got).toEqual([]);
    expect(found(loot, [...CONTENTS, HIDDEN_QUEUE, 'owner'])).toEqual([]);
    expect(loot.filter(({ text }) => !text.includes('www-authenticate: Bearer'))).toEqual([]);
  });
});

describe('with a key of too small a role', () => {
  it.each(['viewer', 'submitter'] as const)('a %s reads no contents, and changes nothing', async (name) => {
    const attacks = [...operations(), requeueAll, ...administration(), metrics];
    if (name === 'viewer') attacks.push(...submissions());
    const refused = await survive(name, attacks, [403]);
    expect(refused.got).toEqual([]);
    const read = await survive(name, reads(), []);
    expect(found([...refused.loot, ...read.loot], [...CONTENTS, HIDDEN_QUEUE])).toEqual([]);
    // The lists are shown. What is refused is the parameter that asks for contents.
    const refusedReads = reads().filter((_, i) => read.loot[i]?.status !== 200);
    expect(refusedReads).toEqual([['GET', '/tasks?include=payload']]);
  });

  it('a worker can do nothing by the routes of others', async () => {
    const { got, loot } = await survive('worker', everything(), [403]);
    expect(got).toEqual(['200 GET /clients/self']);
    expect(found(loot, [...CONTENTS, 'owner'])).toEqual([]);
  });

  it('monitoring sees metrics and nothing else', async () => {
    const { got, loot } = await survive('metrics', everything(), [403]);
    expect(got).toEqual(['200 GET /clients/self', '200 GET /metrics']);
    expect(found(loot, [...CONTENTS, 'owner', pending, failed])).toEqual([]);
  });
});

describe.each(['elsewhere', 'nowhere'])('with a key for other queues (%s)', (name) => {
  it('nothing is changed, and neither contents nor names are shown', async () => {
    const { got, loot } = await survive(name, [...operations(), ...submissions(), ...administration()], [403, 404]);
    expect(got).toEqual([]);
    const requeued = await survive(name, [requeueAll], []);
    expect(requeued.loot[0]?.body).toMatchObject({ requeued: 0 });
    const read = await survive(name, [...reads(), ['GET', '/clients/self']], []);
    const all = [...loot, ...requeued.loot, ...read.loot];
    expect(found(all, [...CONTENTS, HIDDEN_QUEUE])).toEqual([]);
    for (const [i, attack] of reads().entries()) {
      const { status, body } = read.loot[i] as Loot;
      const items = status === 200 ? (body.items ?? body.queues ?? []) : [];
      expect([attack, items]).toEqual([attack, []]);
    }
  });

  it('a task that exists and one that does not look the same', async () => {
    const unknown = '019a5b3c-8f00-7000-8000-0123456789ab';
    const paths = ['/tasks/ID', '/tasks/ID/logs', '/dlq/ID', '/tasks/ID/cancel', '/dlq/ID/requeue'];
    for (const path of paths) {
      const method = /cancel|requeue/.test(path) ? 'POST' : 'GET';
      const [one, other] = await Promise.all(
        [failed, unknown].map(async (id) => {
          const { text } = await api.send(name, method, path.replace('ID', id));
          return text.replaceAll(id, 'ID').replaceAll(/[0-9a-f]{32}|date: .*/g, '');
        }),
      );
      expect(one).toBe(other);
      expect(one?.slice(0, 3)).toBe('404');
    }
  });
});
