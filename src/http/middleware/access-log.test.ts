import { Writable } from 'node:stream';
import { pino } from 'pino';
import { beforeAll, expect, it } from 'vitest';
import { serveApp } from '../../../test/harness/serve-app.ts';
import { ANYBODY, type Client } from '../../core/access/client.ts';
import { createProjections } from '../../core/access/projection.ts';
import { dlqRoutes } from '../../features/dlq/routes.ts';
import { queueRoutes } from '../../features/queues/routes.ts';
import { revealTask } from '../../features/tasks/reveal-route.ts';
import { taskRoutes } from '../../features/tasks/routes.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import type { AppOptions } from '../app.ts';

const ID = '019a5b3c-8f00-7000-8000-0123456789ab';
const position = { id: ID, priority: 2, placeMs: 1 };

/** Stores that find everything and do nothing. */
const cancels = { cancel: async () => ({ verdict: 'cancelled', status: 'CANCELLED', queue: 'mail', position }) };
const store = {
  requeueOne: async () => ({ queue: 'mail', position, waitMs: 0 }),
  requeueBatch: async () => ({ matched: 1, tasks: [{ queue: 'mail', position, waitMs: 0 }], next: null }),
  setPaused: async () => null,
  setKeepCompleted: async () => null,
  deleteQueue: async () => null,
};
const reads = { findWithAttempts: async () => null, find: async () => null, queue: async () => null };
const reveals = { reveal: async () => ({ queue: 'mail', attempt: 1, payload: '1', progress: null, result: null }) };
const parts = {
  cancels,
  store,
  reads,
  queue: { drop: async () => {}, enqueue: async () => {} },
  projectionOf: createProjections({ redactedFields: [], privateMetadata: { all: false, names: [] } }),
  cursors: { open: async () => undefined, seal: async () => null },
} as never;

let client: Client = ANYBODY;
const lines: Record<string, unknown>[] = [];
const sink = new Writable({ write: (chunk, _, done) => (lines.push(JSON.parse(String(chunk))), done()) });
const options: AppOptions = {
  routes: [...taskRoutes(parts), revealTask({ reveals }), ...dlqRoutes(parts), ...queueRoutes(parts)],
  authentication: { clientOf: () => client },
  refusals: { note: () => {} },
  metrics: createMetrics(),
  log: pino({ level: 'debug' }, sink),
};
let url = '';
beforeAll(async () => {
  ({ url } = await serveApp(options));
});

async function lineOf(method: string, path: string, body?: unknown): Promise<Record<string, unknown> | undefined> {
  lines.length = 0;
  const content =
    body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  await (await fetch(url + path, { method, ...content })).text();
  await expect.poll(() => lines).toHaveLength(1);
  return lines[0];
}

const CALLS: readonly [string, string, unknown, object][] = [
  ['POST', `/tasks/${ID}/cancel`, undefined, { status: 200, task_id: ID, queue: 'mail' }],
  ['POST', `/tasks/${ID}/reveal`, undefined, { status: 200, task_id: ID, queue: 'mail' }],
  ['POST', `/dlq/${ID}/requeue`, undefined, { status: 200, task_id: ID, queue: 'mail' }],
  ['POST', '/dlq/requeue', { filter: {} }, { status: 200, matched: 1, requeued: 1 }],
  ['POST', '/queues/mail/pause', undefined, { status: 404, queue: 'mail' }],
  ['POST', '/queues/mail/resume', undefined, { status: 404, queue: 'mail' }],
  ['PUT', '/queues/mail', { keep_completed: true }, { status: 404, queue: 'mail' }],
  ['DELETE', '/queues/mail', undefined, { status: 204, queue: 'mail' }],
  ['GET', `/tasks/${ID}`, undefined, { status: 404, task_id: ID }],
  ['GET', `/dlq/${ID}`, undefined, { status: 404, task_id: ID }],
  ['GET', '/queues/mail', undefined, { status: 404, queue: 'mail' }],
];

it.each(CALLS)('the line of %s %s names what was acted on', async (method, path, body, fields) => {
  expect(await lineOf(method, path, body)).toMatchObject({ msg: 'request', ...fields });
});

it('the line of a refused request does too', async () => {
  client = { ...ANYBODY, name: 'viewer', scopes: new Set() };
  expect(await lineOf('POST', `/tasks/${ID}/cancel`)).toMatchObject({ status: 403, task_id: ID });
  expect(await lineOf('POST', '/queues/mail/pause')).toMatchObject({ status: 403, queue: 'mail' });
});
