import { spawnSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { inspect } from 'node:util';
import { freePort } from './stores/private-server.ts';

/** Runs a copy of the project with Docker Compose and checks it from outside; see `scripts/test-compose`. */

const OWN_SERVICES = ['api', 'worker', 'reclaimer'];
const WORKERS = 2;

const [directory = '.'] = process.argv.slice(2);
const port = await freePort();
const api = `http://127.0.0.1:${port}`;
let passed = 0;
let failed = 0;

try {
  await check('everything is built, starts and becomes healthy', () =>
    compose('up', '--build', '--wait', '--detach', '--scale', `worker=${WORKERS}`),
  );
  // The other checks need a running system.
  if (failed === 0) await checkRunning();
  if (failed > 0) console.log(compose('logs', '--tail', '40'));
} finally {
  await check('down -v leaves nothing behind', () => {
    compose('down', '--volumes', '--timeout', '40');
    equal(compose('ps', '--all', '--quiet'), '');
  });
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

async function checkRunning(): Promise<void> {
  await check('the API is ready', async () => {
    await call('/readyz');
  });
  await check('the port is published on loopback only, so that nobody else reaches an API without keys', () => {
    equal(compose('port', 'api', '8000'), `127.0.0.1:${port}`);
  });
  await check('other containers reach the API by its name, and its metrics on a port of their own', () => {
    for (const url of ['http://api:8000/queues', 'http://api:9464/metrics']) {
      const script = `fetch('${url}').then((answer) => console.log(answer.status))`;
      equal(compose('exec', '-T', 'worker', 'node', '-e', script), '200');
    }
  });
  await check(`${WORKERS} workers are registered`, async () => {
    const workers = (await call('/workers')) as { items: unknown[] };
    equal(workers.items.length, WORKERS);
  });
  await check('no process of the scheduler is root or can write to its image', () => {
    for (const container of ownContainers()) {
      equal(docker('exec', container, 'node', '-p', 'process.getuid()'), '1000');
      equal(docker('inspect', '--format', '{{.HostConfig.ReadonlyRootfs}}', container), 'true');
    }
  });
  await check('the image contains no development dependencies and no tests', () => {
    const script = `console.log(['node_modules/typescript', 'node_modules/vitest', 'src'].filter(require('fs').existsSync).join())`;
    equal(compose('exec', '-T', 'api', 'node', '-e', script), '');
  });
  await check('tasks are executed', async () => {
    await completed(await submit({ execution_time: 0.2 }, 6));
  });
  await check('a restart of all containers loses no tasks', async () => {
    const before = await submit({ execution_time: 0.1 }, 2);
    await completed(before);
    const running = await submit({ execution_time: 2 }, 4);
    const later = await submit({ execution_time: 0.1, delay: 8 }, 4);
    compose('restart', '--timeout', '40');
    compose('up', '--wait', '--detach', '--no-build', '--scale', `worker=${WORKERS}`);
    await completed([...before, ...running, ...later]);
  });
}

async function check(sentence: string, body: () => unknown): Promise<void> {
  const startedMs = performance.now();
  let problem = '';
  try {
    await body();
    passed++;
  } catch (error) {
    failed++;
    problem = `\n${inspect(error)}`;
  }
  const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1);
  console.log(`${problem === '' ? 'ok    ' : 'FAILED'} ${sentence} (${seconds} s)${problem}`);
}

function equal(actual: unknown, expected: unknown): void {
  if (actual !== expected) throw new Error(`expected ${JSON.stringify(expected)}, found ${JSON.stringify(actual)}`);
}

function compose(...args: string[]): string {
  return docker('compose', '--project-name', `scheduler-test-${process.pid}`, '--progress', 'plain', ...args);
}

/** @returns standard output, trimmed */
function docker(...args: string[]): string {
  const env = { ...process.env, PORT: String(port) };
  const result = spawnSync('docker', args, { cwd: directory, env, encoding: 'utf8', maxBuffer: 1 << 26 });
  if (result.status === 0) return result.stdout.trim();
  throw new Error(
    `docker ${args.join(' ')} ended with ${result.status}:\n${(result.stdout + result.stderr).slice(-6_000)}`,
  );
}

function ownContainers(): string[] {
  const ids = compose('ps', '--quiet', ...OWN_SERVICES)
    .split('\n')
    .filter(Boolean);
  equal(ids.length, OWN_SERVICES.length + WORKERS - 1);
  return ids;
}

async function submit(task: object, count: number): Promise<string[]> {
  const tasks = Array.from({ length: count }, () => ({ payload: { for: 'compose' }, ...task }));
  const { tasks: submitted } = (await call('/tasks/batch', { tasks })) as { tasks: { id: string }[] };
  return submitted.map(({ id }) => id);
}

async function completed(ids: readonly string[], timeoutMs = 90_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (const id of ids) {
    for (;;) {
      const { status } = (await call(`/tasks/${id}`)) as { status: string };
      if (status === 'COMPLETED') break;
      if (performance.now() > deadline) throw new Error(`task ${id} is still ${status} after ${timeoutMs} ms`);
      await delay(200);
    }
  }
}

async function call(path: string, body?: unknown): Promise<unknown> {
  // A reused connection could belong to a container that has restarted since.
  const headers = { 'content-type': 'application/json', connection: 'close' };
  const post = { method: 'POST', body: JSON.stringify(body) };
  const response = await fetch(api + path, { headers, ...(body === undefined ? {} : post) });
  if (!response.ok) throw new Error(`${path} answered ${response.status}: ${await response.text()}`);
  return response.json();
}
