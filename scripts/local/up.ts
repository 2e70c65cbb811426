import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { envSchema } from '../../src/config/env.ts';
import { messageOf } from '../../src/core/errors.ts';
import type { Service } from '../../src/lifecycle/service.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { createSupervisor, schedulerChildren } from '../../src/up/supervisor.ts';
import { boundToParent } from '../stores/unprivileged.ts';
import { showExamples } from './examples.ts';
import { announce, leaveCheckout, paths, root, runningUp, shown, tailOf, takeCheckout } from './state.ts';
import { provideStores, type UsedStore } from './stores.ts';

/** Runs the whole system on this machine; see `scripts/up`. */

const WORKERS = 2;
const READY_TIMEOUT_MS = 60_000;

class UpError extends Error {}

const USAGE = 'usage: scripts/up [--detach]';

try {
  const { detached, help } = readFlags();
  if (help) console.log(USAGE);
  else process.exitCode = detached ? await detach() : await up();
} catch (error) {
  if (!(error instanceof UpError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
// Exit even if a promise of the API or of the examples is still pending.
process.exit();

function readFlags(): { detached: boolean; help: boolean } {
  try {
    const { values } = parseArgs({ options: { detach: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } });
    return { detached: values.detach === true, help: values.help === true };
  } catch (error) {
    return fail(`${messageOf(error)}\n${USAGE}`);
  }
}

async function up(): Promise<number> {
  if (!takeCheckout()) return alreadyRunning();
  const interrupted = interruption();
  const closers: (() => void | Promise<void>)[] = [leaveCheckout];
  try {
    const env = await environment();
    const { postgres, redis } = await provideStores().catch((error: Error) => fail(error.message));
    closers.push(postgres.release, redis.release);
    describeStores(postgres, redis);
    Object.assign(process.env, env, { DATABASE_URL: postgres.url, REDIS_URL: redis.url });

    migrate();
    const crashed = Promise.withResolvers<never>();
    let running = false;
    const supervisor = superviseAll((crash, restartInMs) => {
      if (running) console.error(`${crash}; it starts again in ${restartInMs} ms`);
      else crashed.reject(new UpError(crash));
    });
    closers.push(supervisor.stop);
    await supervisor.start();

    const host = ['127.0.0.1', '0.0.0.0', '::'].includes(env.HOST) ? 'localhost' : env.HOST;
    const api = `http://${host}:${env.PORT}`;
    const addresses = [`${api}/docs`, `${api}/tasks`, `${api}/metrics`];
    const work = ready(api).then(() => examples(api));
    if ((await Promise.race([work, interrupted, crashed.promise])) === undefined) {
      running = true;
      announce(addresses, settingsIn(process.env));
      printAddresses(addresses);
      console.log(`\nlogs: ${shown(paths.logs)}; stop with Ctrl-C or ./scripts/down`);
      await interrupted;
    }
    console.log('\nstopping: running tasks may finish; a second Ctrl-C ends everything at once');
    return 0;
  } finally {
    for (const close of closers.toReversed()) {
      // If one part cannot be stopped, the other parts still have to stop.
      try {
        await close();
      } catch (error) {
        console.error(error);
        process.exitCode = 1;
      }
    }
  }
}

/** Returns the environment variables that are settings of the scheduler. */
function settingsIn(env: NodeJS.ProcessEnv): Record<string, string> {
  const given = Object.keys(envSchema.shape).map((name) => [name, env[name]] as const);
  return Object.fromEntries(given.filter((pair): pair is readonly [string, string] => pair[1] !== undefined));
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

/** Starts this script in the background, and waits until it is ready or has failed. */
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
    // The new process found another `up` that is starting.
    if (child.exitCode === 0) return alreadyRunning();
    if (child.exitCode !== null || child.signalCode !== null) fail(tailOf(paths.detachedLog));
    await delay(100);
  }
  child.unref();
  console.log(tailOf(paths.detachedLog, 100));
  return 0;
}

/** Resolves at the first signal. The second signal ends this process and its children at once. */
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

/** Returns host and port of the API. By default, only this machine can reach it. */
async function environment(): Promise<{ HOST: string; PORT: string }> {
  const [host, port] = [process.env['HOST'] || '127.0.0.1', process.env['PORT'] || '8000'];
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535)
    fail(`PORT: expected a whole number from 0 to 65535; given ${JSON.stringify(port)}`);
  return { HOST: host, PORT: String(await freePort(host, Number(port))) };
}

/** Returns the port if it is free; for 0, returns any free port. */
async function freePort(host: string, port: number): Promise<number> {
  const server = createServer().listen(port, host);
  try {
    await once(server, 'listening');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === 'EADDRINUSE' ? 'is in use by another program' : `cannot be used (${code})`;
    fail(`Port ${port} ${why}. Choose another one: PORT=${port + 1} ./scripts/up`);
  }
  const { port: free } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return free;
}

function describeStores(postgres: UsedStore, redis: UsedStore): void {
  console.log(`PostgreSQL: ${postgres.origin}`);
  console.log(`Redis: ${redis.origin}`);
}

function migrate(): void {
  const result = spawnSync(process.execPath, ['src/main.ts', 'migrate'], { cwd: root, encoding: 'utf8' });
  writeFileSync(join(paths.logs, 'migrate.log'), result.stdout + result.stderr);
  if (result.status === 0) return;
  const output = result.stdout + result.stderr;
  fail(`the database could not be migrated: ${reasonIn(output) ?? `\n${output}`}`);
}

/** Returns the message of the error that a process logged before it ended, or null if it logged none. */
function reasonIn(output: string): string | null {
  try {
    const { err } = JSON.parse(output.trim().split('\n').at(-1) ?? '') as { err: { message: string } };
    return err.message;
  } catch {
    return null;
  }
}

/**
 * Supervises API, workers and reclaimer. Each one writes to a separate log.
 * @param onCrash is called with a message that says which child ended, and why
 */
function superviseAll(onCrash: (crash: string, restartInMs: number) => void): Service {
  const logFile = join(paths.logs, 'supervisor.log');
  const write = (line: string): void => {
    appendFileSync(logFile, line);
    const { msg, child, code, signal, restartInMs } = JSON.parse(line) as Record<string, string | number | null>;
    if (msg === 'child process ended') onCrash(crashOf(String(child), code ?? signal ?? null), Number(restartInMs));
  };
  const log = createLogger('info', { process: 'up' }, { write });
  const children = schedulerChildren(WORKERS).map((child) => {
    const output = openSync(join(paths.logs, `${child.name}.log`), 'w');
    return { ...child, command: boundToParent(child.command, 'TERM'), stdio: ['ignore' as const, output, output] };
  });
  writeFileSync(logFile, '');
  return createSupervisor({ log, children });
}

function crashOf(child: string, ending: string | number | null): string {
  const log = join(paths.logs, `${child}.log`);
  const reason = reasonIn(tailOf(log, 1));
  return `${child} ended (${ending})${reason === null ? '' : `: ${reason}`}; see ${shown(log)}`;
}

/** Runs the examples in the queue that the workers serve first. */
async function examples(api: string): Promise<void> {
  const [queue = ''] = (process.env['WORKER_QUEUES'] ?? '').split(',');
  await showExamples(api, queue.trim() || 'default').catch((error: unknown) => fail(messageOf(error)));
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
