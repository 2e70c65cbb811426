import { once } from 'node:events';
import { parentPort, workerData } from 'node:worker_threads';
import type { LoadOrder, LoadReport } from './load.ts';

const { url, secret, perSecond, task } = workerData as LoadOrder;
const accepted: string[] = [];
const failures: string[] = [];
const pending = new Set<Promise<void>>();
let slowestMs = 0;

async function submit(): Promise<void> {
  const startedMs = performance.now();
  try {
    const response = await fetch(`${url}/tasks`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${secret}` },
      body: JSON.stringify(task),
      signal: AbortSignal.timeout(20_000),
    });
    const body = await response.text();
    if (response.status === 200) accepted.push((JSON.parse(body) as { id: string }).id);
    else failures.push(`${response.status} ${body.slice(0, 200)}`);
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? ` (${error.cause.message})` : '';
    failures.push(`${String(error)}${cause}`);
  }
  slowestMs = Math.max(slowestMs, performance.now() - startedMs);
}

const beganMs = performance.now();
let sent = 0;
// A late timer sends all requests that are due, so that the rate stays as requested.
let stopped = false;
const sendWhatIsDue = (): void => {
  if (stopped) return;
  for (const due = ((performance.now() - beganMs) / 1_000) * perSecond; sent < due; sent++) {
    const request = submit().finally(() => pending.delete(request));
    pending.add(request);
  }
};
// Handle received data first. Otherwise, after a pause of this thread, a burst of requests would use connections that the
// server has already closed.
const timer = setInterval(() => setImmediate(sendWhatIsDue), 10);

if (parentPort === null) throw new Error('this is the thread of load.ts');
await once(parentPort, 'message');
stopped = true;
clearInterval(timer);
await Promise.all(pending);
const report: LoadReport = { accepted, failures, slowestMs };
parentPort.postMessage(report);
parentPort.close();
