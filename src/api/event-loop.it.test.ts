import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { gzipSync } from 'node:zlib';
import { pino } from 'pino';
import { beforeAll, expect, it } from 'vitest';
import { serveApp } from '../../test/harness/serve-app.ts';
import { createProjections } from '../core/access/projection.ts';
import { createIdSource } from '../core/ids.ts';
import type { Submission } from '../core/task.ts';
import type { SubmitResult } from '../engine/submit/submit-store.ts';
import { submitRoutes } from '../features/tasks/submit-routes.ts';
import { openAuthentication } from '../http/access/authentication.ts';
import type { AppOptions } from '../http/app.ts';
import { createMemoryBudget } from '../http/body/memory-budget.ts';
import { createMetrics } from '../telemetry/metrics.ts';

/** The longest time in milliseconds that a request may block the event loop. */
const HOLD_MAX_MS = 50;

/** The first round runs code that is not compiled yet. The best round shows the cost of the request alone. */
const ROUNDS = 3;

const created = (): SubmitResult => ({ kind: 'created', waitMs: 0 });

const metrics = createMetrics();
const options: AppOptions = {
  authentication: openAuthentication,
  routes: submitRoutes({
    submitter: {
      submit: async () => created(),
      submitAll: async (submissions: readonly Submission[]) => submissions.map(created),
    },
    projectionOf: createProjections({ redactedFields: [], privateMetadata: { all: false, names: [] } }),
    ids: createIdSource(Date.now, randomBytes),
    admission: { arrive: async () => {}, charge: async () => {}, refund: async () => {} },
    quotas: { admit: () => null },
    payloadMaxBytes: 262_144,
    batchMaxTasks: 10_000,
    batchMaxBytes: 16_777_216,
  }),
  metrics,
  log: pino({ level: 'silent' }),
  memory: createMemoryBudget({ maxBytes: 1e9, metrics }),
};

let origin = '';
beforeAll(async () => {
  ({ url: origin } = await serveApp(options));
});

/** Sends the request from another thread, so that this work is not measured. */
const SENDER = `
  const { workerData: { url, body }, parentPort } = require('node:worker_threads');
  const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' };
  fetch(url, { method: 'POST', body, headers }).then(async (response) => {
    await response.arrayBuffer();
    parentPort.postMessage(response.status);
  });`;

/**
 * Measures the most CPU time that this thread used in one turn of its event loop. Work of other processes does not
 * count.
 */
async function longestTurn(body: Buffer): Promise<{ status: number; ms: number }> {
  const url = `${origin}/tasks/batch`;
  const sender = new Worker(SENDER, { eval: true, workerData: { url, body } });
  let running = true;
  let ms = 0;
  let before = process.threadCpuUsage();
  const turn = (): void => {
    const now = process.threadCpuUsage();
    ms = Math.max(ms, (now.user + now.system - before.user - before.system) / 1_000);
    before = now;
    if (running) setImmediate(turn);
  };
  setImmediate(turn);
  const [status] = (await once(sender, 'message')) as [number];
  running = false;
  await sender.terminate();
  return { status, ms };
}

const tasks = (count: number, task: (i: number) => string): string =>
  `{"tasks":[${Array.from({ length: count }, (_, i) => task(i)).join()}]}`;
const objects = `[${'{"a":0},'.repeat(32_000)}0]`;
const members = `{${Array.from({ length: 22_000 }, (_, i) => `"k${i}":0`).join()}}`;

it.each([
  ['a million small objects', tasks(1, () => `{"payload":[${'{"a":0},'.repeat(900_000)}0]}`), 413],
  ['a long string', tasks(1, () => `{"payload":"${'x'.repeat(16_700_000)}"}`), 413],
  ['nothing but spaces', ' '.repeat(16_777_000), 400],
  ['ten thousand wrong tasks', tasks(10_000, () => '{"payload":1,"priority":"x","colour":1}'), 422],
  ['ten thousand tasks', tasks(10_000, (i) => `{"payload":{"action":"x","i":${i}}}`), 200],
  ['ten thousand tasks with keys', tasks(10_000, (i) => `{"payload":{"action":"x"},"idempotency_key":"k${i}"}`), 200],
  ['the longest payloads', tasks(60, () => `{"payload":{"action":"x","s":"${'y'.repeat(250_000)}"}}`), 200],
  ['large objects with keys', tasks(30, (i) => `{"action":"x","idempotency_key":"k${i}","payload":${objects}}`), 200],
  [
    'an object of many members with a key',
    tasks(1, () => `{"action":"x","idempotency_key":"k","payload":${members}}`),
    200,
  ],
])('the event loop is not blocked by %s', { timeout: 120_000 }, async (_name, body, status) => {
  const compressed = gzipSync(body);
  const turns: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const turn = await longestTurn(compressed);
    expect(turn.status).toBe(status);
    turns.push(turn.ms);
  }
  expect(Math.min(...turns)).toBeLessThan(HOLD_MAX_MS);
});
