import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createSupervisor, schedulerChildren } from '../../src/lifecycle/supervisor.ts';
import type { Service } from '../../src/lifecycle/service.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { boundToParent } from '../stores/unprivileged.ts';
import { showExamples } from './examples.ts';
import { announce, leaveCheckout, paths, root, runningUp, shown, tailOf, takeCheckout } from './state.ts';
import { provideStores, type UsedStore } from './stores.ts';

/** Runs the whole system on this machine; see `scripts/up`. */

const WORKERS = 2;
const READY_TIMEOUT_MS = 60_000;

class UpError extends Error {}

const { values: flags } = parseArgs({ options: { detach: { type: 'boolean', default: false } } });

try {
  process.exitCode = flags.detach ? await detach() : await up();
} catch (error) {
  if (!(error instanceof UpError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}

async function up(): Promise<number> {
  if (!takeCheckout()) return alreadyRunning();
  const interrupted = interruption();
  const closers: (() => void | Promise<void>)[] = [leaveCheckout];
  try {
    const env = environment();
    await requireFreePort(env.HOST, Number(env.PORT));
    const { postgres, redis } = await provideStores().catch((error: Error) => fail(error.message));
    closers.push(postgres.release, redis.release);
    describeStores(postgres, redis);
    Object.assign(process.env, env, { DATABASE_URL: postgres.url, REDIS_URL: redis.url });

    migrate();
    const supervisor = superviseAll();
    closers.push(supervisor.stop);
    await supervisor.start();

    const host = ['127.0.0.1', '0.0.0.0', '::'].includes(env.HOST) ? 'localhost' : env.HOST;
    const api = `http://${host}:${env.PORT}`;
    const addresses = [`${api}/docs`, `${api}/tasks`, `${api}/metrics`];
    const work = ready(api).then(() => showExamples(api));
    if ((await Promise.race([work, interrupted])) === undefined) {
      announce(addresses);
      printAddresses(addresses);
      console.log(`\nlogs: ${shown(paths.logs)}; stop with Ctrl-C or ./scripts/down`);
      await interrupted;
    }
    console.log('\nstopping: running tasks may finish; a second Ctrl-C ends everything at once');
    return 0;
  } finally {
    for (const close of closers.toReversed()) {
      // One that cannot be stopped must not keep the others running.
      try {
        await close();
      } catch (error) {
        console.error(error);
        process.exitCode = 1;
      }
    }
  }
}

function alreadyRunning(): number {
  const state = runningUp();
  console.log(`already running (process ${state?.pid ?? 'starting'}); stop it with ./scripts/down`);
  printAddresses(state?.addresses ?? []);
  return 0;
}

function printAddresses(addresses: readonly string[]): void {
  const names = ['API and documentation', 'tasks', 'metrics'];
  console.log('');
  addresses.forEach((address, index) => console.log(`  ${(names[index] ?? '').padEnd(22)} ${address}`));
}

/** Starts ourselves in the background, and stays until that one is ready or has failed. */
async function detach(): Promise<number> {
  if (runningUp() !== null) return alreadyRunning();
  mkdirSync(paths.local, { recursive: true });
  const log = openSync(paths.detachedLog, 'w');
  const child = spawn(process.execPath, [import.meta.filename], {
    cwd: root,
    detached: true,
    stdio: ['ignore', log, log],
  });
  for (;;) {
    const state = runningUp();
    if (state !== null && state.addresses.length > 0) break;
    if (child.exitCode !== null || child.signalCode !== null) fail(tailOf(paths.detachedLog));
    await delay(100);
  }
  child.unref();
  console.log(tailOf(paths.detachedLog, 100));
  return 0;
}

/** Resolves at the first signal; a second one ends this process, and everything with it. */
function interruption(): Promise<'interrupted'> {
  const { promise, resolve } = Promise.withResolvers<'interrupted'>();
  let signals = 0;
  const onSignal = (): void => {
    if (++signals > 1) {
      leaveCheckout();
      process.exit(130);
    }
    resolve('interrupted');
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal).on('SIGHUP', onSignal);
  return promise;
}

/** Only this machine reaches what runs here, unless HOST says otherwise. */
function environment(): { HOST: string; PORT: string } {
  return { HOST: process.env['HOST'] || '127.0.0.1', PORT: process.env['PORT'] || '8000' };
}

async function requireFreePort(host: string, port: number): Promise<void> {
  const server = createServer().listen(port, host);
  try {
    await once(server, 'listening');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === 'EADDRINUSE' ? 'is in use by another program' : `cannot be used (${code})`;
    fail(`Port ${port} ${why}. Choose another one: PORT=${port + 1} ./scripts/up`);
  }
  server.close();
  await once(server, 'close');
}

function describeStores(postgres: UsedStore, redis: UsedStore): void {
  console.log(`PostgreSQL: ${postgres.origin}`);
  console.log(`Redis: ${redis.origin}`);
}

function migrate(): void {
  const result = spawnSync(process.execPath, ['src/main.ts', 'migrate'], { cwd: root, encoding: 'utf8' });
  writeFileSync(join(paths.logs, 'migrate.log'), result.stdout + result.stderr);
  if (result.status !== 0) fail(`the database could not be migrated: ${reasonIn(result.stdout + result.stderr)}`);
}

/** The message of the error that a process logged before it ended; all that it wrote where there is none. */
function reasonIn(output: string): string {
  try {
    const { err } = JSON.parse(output.trim().split('\n').at(-1) ?? '') as { err: { message: string } };
    return err.message;
  } catch {
    return `\n${output}`;
  }
}

/** API, workers and reclaimer; each writes to a log of its own, and the terminal tells of crashes only. */
function superviseAll(): Service {
  const logFile = join(paths.logs, 'supervisor.log');
  const log = createLogger('info', { process: 'up' }, { write: (line) => tellOfCrash(line, logFile) });
  const children = schedulerChildren(WORKERS).map((child) => {
    const output = openSync(join(paths.logs, `${child.name}.log`), 'w');
    return { ...child, command: boundToParent(child.command, 'TERM'), stdio: ['ignore' as const, output, output] };
  });
  writeFileSync(logFile, '');
  return createSupervisor({ log, children });
}

function tellOfCrash(line: string, logFile: string): void {
  appendFileSync(logFile, line);
  const { msg, child, code, signal, restartInMs } = JSON.parse(line) as Record<string, string | number | null>;
  if (msg !== 'child process ended') return;
  const childLog = shown(join(paths.logs, `${child}.log`));
  console.error(`${child} ended (${code ?? signal}), starts again in ${restartInMs} ms; see ${childLog}`);
}

async function ready(api: string): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    const response = await fetch(`${api}/readyz`).catch(() => null);
    if (response?.ok === true) return;
    if (performance.now() > deadline) {
      fail(`the API is not ready after ${READY_TIMEOUT_MS / 1_000} s:\n${tailOf(join(paths.logs, 'api.log'))}`);
    }
    await delay(100);
  }
}

function fail(message: string): never {
  throw new UpError(message);
}
