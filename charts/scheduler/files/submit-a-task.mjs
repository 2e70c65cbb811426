// submit-a-task.mjs URL SECONDS: submits a task through the Service and waits until it is COMPLETED.
import { setTimeout as delay } from 'node:timers/promises';

const [url, seconds] = process.argv.slice(-2);
const signal = AbortSignal.timeout(Number(seconds) * 1_000);
const startedMs = performance.now();

const submitted = await fetch(`${url}/tasks`, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ payload: { from: 'helm test' }, execution_time: 0.1, priority: 'High' }),
  signal,
});
if (submitted.status !== 200) throw new Error(`POST ${url}/tasks answered ${submitted.status}: ${await submitted.text()}`);
const { id } = await submitted.json();
console.log(`submitted ${id}`);

for (;;) {
  const response = await fetch(`${url}/tasks/${id}`, { signal });
  const task = await response.json();
  if (task.status === 'COMPLETED') break;
  if (task.status === 'FAILED' || task.status === 'CANCELLED') throw new Error(`the task ended ${task.status}`);
  await delay(250, undefined, { signal });
}
console.log(`COMPLETED after ${((performance.now() - startedMs) / 1_000).toFixed(1)} s`);
