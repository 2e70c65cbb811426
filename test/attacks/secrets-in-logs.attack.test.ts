import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { makeSecret } from '../../src/core/access/secret.ts';
import { untilTrue } from '../harness/processes.ts';
import { createTestStores } from '../harness/stores.ts';
import { bearerLine, besiege, secretOfClient, type Attack } from './besieged-api.ts';
import { randomOf } from './forged-secrets.ts';

/** Requests with a key of theirs, and with the key in all places where people put it by mistake. */
const attacks = (key: string): Attack[] => [
  ['GET', '/tasks'],
  ['GET', `/tasks?key=${key}`],
  ['GET', `/tasks/${key}`],
  ['GET', `/nothing/${key}?token=${key}`],
  ['POST', '/tasks', { payload: { key } }],
  ['POST', '/tasks', { nothing: key, queue: 1 }],
  ['POST', '/tasks', `{"payload": "${key}`],
  ['POST', '/tasks/batch', { tasks: [{ payload: key }, { payload: key, priority: key }] }],
  ['POST', '/clients', { name: 'new', note: key, role: 'viewer' }],
  ['POST', '/dlq/requeue', { filter: {}, cursor: key }],
  ['DELETE', '/queues/default'],
  ['PATCH', '/tasks'],
];

it('no secret is in the output of the API at the lowest level, also of requests that fail in every way', async () => {
  const api = await besiege(
    await createTestStores(),
    { filed: { role: 'viewer' }, owner: { role: 'admin' } },
    { LOG_LEVEL: 'trace' },
  );
  const made: string[] = [];
  for (const role of ['viewer', 'admin'])
    made.push((await api.send('owner', 'POST', '/clients', { name: `a-${role}`, role })).body.secret as string);
  const [, stored] = made as [string, string];
  const rotated = (await api.send('owner', 'POST', '/clients/a-viewer/rotate', {})).body.secret as string;
  const wrong = makeSecret(randomBytes).text;
  const filed = [secretOfClient('filed'), secretOfClient('owner')];
  const keys = [...made, rotated, wrong, wrong.slice(0, -1), ...filed, 'a-key-of-another-kind-that-is-wrong'];

  const sendAll = async (): Promise<number[]> => {
    const sent = keys.flatMap((key) => attacks(key).map((attack) => ({ key, attack })));
    const answers = sent.map(({ key, attack }) => api.send({ authorization: `Bearer ${key}` }, ...attack));
    return (await Promise.all(answers)).map(({ status }) => status);
  };
  const statuses = new Set(await sendAll());
  for (const status of [200, 401, 403, 404, 422, 400, 405]) expect(statuses).toContain(status);

  // Requests that never reach a route.
  for (const key of keys) {
    for (const lines of [
      ['GET /tasks HTTP/1.1', 'Host: x', `${bearerLine(key)}\0`],
      ['GET /tasks HTTP/1.1', 'Host: x', bearerLine(key), `X: ${'x'.repeat(20_000)}`],
      [`${key} /tasks HTTP/1.1`, bearerLine(key)],
      [`GET /tasks/${key} HTTP/9.9`, 'Host: x'],
      ['POST /tasks HTTP/1.1', 'Host: x', bearerLine(key), 'Content-Type: application/json', 'Content-Encoding: gzip'],
      ['GET /tasks HTTP/1.1', 'Host: x', `Authorization: Basic ${Buffer.from(`x:${key}`).toString('base64')}`],
      ['GET /tasks HTTP/1.1', 'Host: x', `Cookie: key=${key}`, `Referer: http://x/${key}`, `User-Agent: ${key}`],
    ])
      await api.sendRaw(lines, { body: `not gzip: ${key}` });
  }

  // Statements that fail: their errors have the statement, the row, and a stack.
  // Each on its own: together they would hold one lock while they wait for another, which can be a deadlock.
  for (const change of [
    'ALTER TABLE submissions RENAME TO gone',
    'ALTER TABLE queues RENAME TO gone_too',
    'DROP TABLE audit',
  ])
    await api.rows(change);
  expect(new Set(await sendAll())).toContain(500);
  const failing = await api.send({ authorization: `Bearer ${stored}` }, 'POST', '/clients', {
    name: 'late',
    role: 'viewer',
    note: stored,
  });
  expect(failing.status).toBe(500);

  await untilTrue(() => api.process.lines.some(({ msg }) => msg === 'request failed unexpectedly'));
  api.process.signal('SIGTERM');
  await api.process.waitForExit();
  const { output } = api.process;
  expect(output).toContain('"level":"debug"');
  // The public id is shown, and any eight of the other characters are too many.
  const parts = [...made, rotated, wrong].flatMap((secret) => {
    const random = randomOf(secret);
    return [random.slice(0, 8), random.slice(-8), Buffer.from(`x:${secret}`).toString('base64')];
  });
  const texts = [...parts, ...filed.map((secret) => secret.slice(0, 20)), 'a-key-of-another-kind'];
  expect(texts.filter((text) => output.includes(text))).toEqual([]);
});
