import { beforeAll, describe, expect, it } from 'vitest';
import { as } from '../harness/clients.ts';
import { atEndOfFile } from '../harness/end-of-file.ts';
import { createTestStores } from '../harness/stores.ts';
import { createTaskFixture, FIXTURE_WORKER, type TaskFixture } from '../task-fixture.ts';
import { besiege, type Attack, type BesiegedApi } from './besieged-api.ts';

/**
 * What is hidden lies in one queue, which all attackers may use. They know the names of fields, can guess values, and try
 * to see a value, or to learn whether a guess is right.
 */
const CLIENTS = {
  owner: { role: 'admin' },
  // Sees contents, but not what is redacted, and no directories.
  reader: { scopes: ['submit', 'read', 'payload', 'operate', 'metrics'], queues: ['vault'] },
  // Does everything but see contents.
  blind: { scopes: ['submit', 'read', 'operate', 'admin', 'metrics'], queues: ['vault'] },
  viewer: { role: 'viewer', queues: ['vault'] },
} as const;
type Name = keyof typeof CLIENTS;

const CARD = 'card-canary-4111';
const CUSTOMER = 'customer-canary-17';
const DIRECTORY = 'directory-canary';
const ERROR = 'error-canary-99';

let api: BesiegedApi;
let tasks: TaskFixture;
let completed: string;
let failed: string;

beforeAll(async () => {
  const stores = await createTestStores();
  tasks = createTaskFixture(stores);
  atEndOfFile(() => tasks.close());
  const content = JSON.stringify({ card: { number: CARD }, n: 1 });
  const hidden = { queue: 'vault', action: 'pay', payload: content, metadata: { customer: CUSTOMER, team: 'blue' } };
  completed = await tasks.taskIn('PROCESSING', hidden);
  await tasks.store.recordProgress(FIXTURE_WORKER, [{ id: completed, attempt: 1, progress: content }]);
  await tasks.settle(completed, { verb: 'complete', result: content });
  failed = await tasks.taskIn('PROCESSING', hidden);
  const frame = `    at pay (/srv/${DIRECTORY}/pay.js:1:1)`;
  const error = {
    name: 'CardError',
    message: `${ERROR}\n${frame}`,
    stack: `CardError: ${ERROR}\n${frame}`,
    cause: { name: 'Error', message: 'cause', stack: `Error: cause\n    at C:\\${DIRECTORY}\\x (y)\\a.js:1:1` },
    errors: [
      {
        name: 'Error',
        message: 'part',
        stack: `    at eval (eval at f (/srv/${DIRECTORY}/e.js:1:1), <anonymous>:1:1)`,
      },
    ],
  };
  await tasks.settle(failed, { verb: 'fail', error, result: content });
  api = await besiege(stores, CLIENTS, {
    REDACTED_FIELDS: '{"pay": ["$.card.number"]}',
    PRIVATE_METADATA: 'customer',
    LOG_LEVEL: 'trace',
  });
});

const reads = (): Attack[] => [
  ...[completed, failed].flatMap((id): Attack[] => [
    ['GET', `/tasks/${id}`],
    ['GET', `/tasks/${id}/logs`],
    ['GET', `/dlq/${id}`],
  ]),
  ...['', '?include=payload', '?metadata.team=blue', '?limit=1', '?status=FAILED,COMPLETED&include=payload'].map(
    (query): Attack => ['GET', `/tasks${query}`],
  ),
  ['GET', '/dlq'],
  ['GET', '/dlq?requeued=any'],
  ['GET', '/stats'],
  ['GET', '/queues'],
  ['GET', '/workers'],
  ['GET', '/metrics'],
  ['GET', '/audit'],
];

const SECRETS: Readonly<Record<Exclude<Name, 'owner'>, readonly string[]>> = {
  reader: [CARD, DIRECTORY],
  blind: [CARD, CUSTOMER, DIRECTORY, ERROR],
  viewer: [CARD, CUSTOMER, DIRECTORY, ERROR],
};
const attackers = Object.keys(SECRETS) as (keyof typeof SECRETS)[];

it('the attacks are real: what is hidden is there, and the owner gets it', async () => {
  const revealed = await api.send('owner', 'POST', `/tasks/${completed}/reveal`, {});
  expect(revealed.text.split(CARD)).toHaveLength(4);
  expect((await api.send('owner', 'GET', `/tasks/${completed}`)).text).toContain(CUSTOMER);
  expect((await api.send('owner', 'GET', `/dlq/${failed}`)).text).toContain(DIRECTORY);
});

describe.each(attackers)('a %s', (name) => {
  it('sees none of it on any way out', async () => {
    const loot = await Promise.all(reads().map((attack) => api.send(name, ...attack)));
    const found = loot.flatMap(({ text }) => SECRETS[name].filter((secret) => text.includes(secret)));
    expect(found).toEqual([]);
    expect(loot.some(({ text }) => text.includes('[redacted]'))).toBe(true);
  });

  it('is not let to reveal it, in whatever way it asks', async () => {
    const path = `/tasks/${completed}/reveal`;
    const attacks: Attack[] = [
      ['POST', path],
      ['POST', path, {}],
      ['POST', path, { attempt: 1 }],
      ['GET', path],
      ['POST', `${path}/`],
      ['POST', `/tasks/${completed.toUpperCase()}/reveal`],
      ['POST', `//tasks/${completed}/reveal`],
      ['PUT', path, {}],
    ];
    for (const attack of attacks) {
      const { status, text } = await api.send(name, ...attack);
      expect([attack, status >= 400, text.includes(CARD)]).toEqual([attack, true, false]);
    }
    const headers = { ...as(name), 'x-http-method-override': 'POST', 'x-scopes': 'admin,payload' };
    expect((await api.send(headers, 'GET', path)).status).toBe(405);
    expect(
      await api.rows(`SELECT FROM audit WHERE action = 'payload.reveal' AND client = $1 AND outcome = 'allowed'`, [
        name,
      ]),
    ).toEqual([]);
  });
});

/** Sends a guess that is right and one that is wrong. What comes back must not tell which is which. */
async function tellsApart(name: Name, guess: (text: string) => Attack, right: string): Promise<boolean> {
  const answers = await Promise.all(
    [right, right.replace('canary', 'absent')].map(async (text) => {
      const { status, text: answer } = await api.send(name, ...guess(text));
      // The guess itself, ids, times and sealed cursors differ anyway.
      const plain = answer
        .replaceAll(text, 'GUESS')
        .replaceAll(encodeURIComponent(text), 'GUESS')
        .replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}|date: .*|\d{4}-\d\d-\d\dT[\d:.]+Z/g, '')
        .replaceAll(/ratelimit-\w+: .*/g, '');
      return `${status} ${plain}`;
    }),
  );
  return answers[0] !== answers[1];
}

describe('guesses', () => {
  it.each(['blind', 'viewer'] as const)('of private metadata tell nothing to a %s', async (name) => {
    const guesses: ((text: string) => Attack)[] = [
      (text) => ['GET', `/tasks?metadata.customer=${text}`],
      (text) => ['GET', `/tasks?metadata.team=blue&metadata.customer=${text}`],
      (text) => ['GET', `/tasks?metadata.customer=${text}&status=FAILED&limit=1`],
      (text) => ['GET', `/tasks?%6Detadata.customer=${text}`],
      (text) => ['GET', `/tasks?metadata.customer%20=${text}`],
      (text) => ['GET', `/tasks?metadata[customer]=${text}`],
      (text) => ['GET', `/tasks?metadata=${text}`],
      (text) => ['GET', `/tasks?group=${text}`],
      (text) => ['GET', `/tasks?trace_id=${text}`],
      (text) => ['GET', `/tasks?idempotency_key=${text}`],
      (text) => ['GET', `/dlq?metadata.customer=${text}`],
      (text) => ['POST', '/dlq/requeue', { filter: { metadata: { customer: text } }, dry_run: true }],
      (text) => ['POST', '/dlq/requeue', { filter: { 'metadata.customer': text }, dry_run: true }],
    ];
    for (const guess of guesses)
      expect([guess('x'), await tellsApart(name, guess, CUSTOMER)]).toEqual([guess('x'), false]);
  });

  it.each(['blind', 'viewer'] as const)('of the texts of errors tell nothing to a %s', async (name) => {
    const guess = (text: string): Attack => [
      'POST',
      '/dlq/requeue',
      { filter: { error_contains: text }, dry_run: true },
    ];
    expect(await tellsApart(name, guess, ERROR)).toBe(false);
    expect(await tellsApart(name, guess, CARD)).toBe(false);
  });

  it('of directories of the server tell nothing to a reader, who finds the rest of the error', async () => {
    const guess = (text: string): Attack => [
      'POST',
      '/dlq/requeue',
      { filter: { error_contains: text }, dry_run: true },
    ];
    expect(await tellsApart('reader', guess, DIRECTORY)).toBe(false);
    expect(await tellsApart('reader', guess, `/srv/${DIRECTORY}/pay.js`)).toBe(false);
    expect(await tellsApart('reader', guess, ERROR)).toBe(true);
    expect(await tellsApart('owner', guess, DIRECTORY)).toBe(true);
  });

  it('of a payload by its idempotency key tell nothing about a task of somebody else', async () => {
    const key = { 'idempotency-key': 'order-1' };
    const task = (number: string) => ({ queue: 'vault', action: 'pay', payload: { card: { number } } });
    const first = await api.send({ ...as('reader'), ...key }, 'POST', '/tasks', task(CARD));
    expect(first.status).toBe(200);
    // Whether the key belongs to the same content is told only to the client that used it.
    for (const number of [CARD, 'absent']) {
      const fresh = { ...as('blind'), 'idempotency-key': `order-1-${number}` };
      expect((await api.send(fresh, 'POST', '/tasks', task(number))).status).toBe(200);
    }
    const repeated = await api.send({ ...as('reader'), ...key }, 'POST', '/tasks', task(CARD));
    expect([repeated.status, repeated.text.includes(CARD)]).toEqual([200, false]);
    expect(repeated.text).toContain('idempotency-replayed: true');
  });

  it('by a filter of others, in the audit log, are hidden from who does not see contents', async () => {
    await api.send('owner', 'POST', '/dlq/requeue', {
      filter: { error_contains: ERROR, queue: 'vault', action: 'none' },
    });
    await api.send('owner', 'POST', '/dlq/requeue', { filter: { error_contains: ERROR, queue: 'vault' } });
    const log = await api.send('blind', 'GET', '/audit?action=dlq.requeue');
    expect(log.body.items).not.toEqual([]);
    expect(log.text).not.toContain(ERROR);
  });
});

it('the log of the API has nothing of it at the lowest level', async () => {
  api.process.signal('SIGTERM');
  await api.process.waitForExit();
  const { output } = api.process;
  expect(output).toContain('"route":"/tasks/{id}/reveal"');
  expect([CARD, CUSTOMER, DIRECTORY, ERROR].filter((secret) => output.includes(secret))).toEqual([]);
});
