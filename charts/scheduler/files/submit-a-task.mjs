// submit-a-task.mjs URL SECONDS [QUEUE [SECRET]]: submits a task through the Service and waits until it is COMPLETED.
// SECRET is the file with the secret of a client. With `no-client` instead, it waits only until the API is ready. Right
// after an installation, the API may not listen yet or may not reach PostgreSQL. Therefore failed connections and answers
// with status 503 are retried until the timeout. Any other error fails at once.
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const [url, seconds, queue, secret] = process.argv.slice(process.argv.findIndex((argument) => /^https?:/.test(argument)));
const REQUEST_MS = 5_000;
const PAUSE_MS = 250;
const REPORT_EVERY_MS = 10_000;
const startedMs = performance.now();
const endMs = startedMs + Number(seconds) * 1_000;
let reportedMs = startedMs;
let goal = 'COMPLETED';

const hasClient = secret !== 'no-client';
const authorization = hasClient && secret && { authorization: `Bearer ${readFileSync(secret, 'utf8').trim()}` };

if (!hasClient) {
  goal = 'ready';
  await ask('/readyz');
  console.log('the API is ready. No task was submitted, because the API asks for a key and helmTest.client names no client');
  process.exit();
}

const task = { payload: { from: 'helm test' }, execution_time: 0.1, priority: 'High', ...(queue && { queue }) };
const { id } = await ask('/tasks', {
  method: 'POST',
  // With the same idempotency key, a retry after a lost answer does not create a second task.
  headers: { 'content-type': 'application/json', 'idempotency-key': randomUUID() },
  body: JSON.stringify(task),
});
console.log(`submitted ${id}`);

for (;;) {
  const { status } = await ask(`/tasks/${id}`);
  if (status === 'COMPLETED') break;
  if (status === 'FAILED' || status === 'CANCELLED') throw new Error(`the task ended ${status}`);
  await pause(`the task is ${status}`);
}
console.log(`COMPLETED after ${((performance.now() - startedMs) / 1_000).toFixed(1)} s`);

async function ask(path, request = {}) {
  const what = `${request.method ?? 'GET'} ${url}${path}`;
  for (;;) {
    let problem;
    try {
      const headers = { ...request.headers, ...authorization };
      const response = await fetch(url + path, { ...request, headers, signal: AbortSignal.timeout(REQUEST_MS) });
      const text = await response.text();
      if (response.status === 200) return JSON.parse(text);
      problem = `${what} answered ${response.status}: ${text}`;
      if (response.status !== 503) throw new Error(problem);
    } catch (error) {
      if (problem !== undefined) throw error;
      if (error instanceof SyntaxError) throw new Error(`${what} answered no JSON`, { cause: error });
      problem = `${what}: ${error.cause?.message || error.cause?.code || error.message}`;
    }
    await pause(problem);
  }
}

/** Waits before the next try, and logs the reason from time to time. @throws Error after the timeout */
async function pause(waitsFor) {
  if (performance.now() + PAUSE_MS > endMs) throw new Error(`not ${goal} within ${seconds} s: ${waitsFor}`);
  if (performance.now() - reportedMs > REPORT_EVERY_MS) {
    reportedMs = performance.now();
    console.log(`waiting: ${waitsFor}`);
  }
  await delay(PAUSE_MS);
}
