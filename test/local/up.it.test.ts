import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { freePort } from '../../scripts/stores/private-server.ts';
import { isAlive, processTree } from '../../scripts/stores/process-tree.ts';
import { atEndOfFile } from '../harness/end-of-file.ts';
import { startProcess, untilTrue } from '../harness/processes.ts';
import { createTestStores } from '../harness/stores.ts';
import { createTaskFixture } from '../task-fixture.ts';

async function environment(): Promise<{ PORT: string; UP_DIRECTORY: string }> {
  const directory = mkdtempSync(join(tmpdir(), 'scheduler-up-'));
  // PostgreSQL may run as another account, which has to reach its subdirectory.
  chmodSync(directory, 0o711);
  // Processes register their cleanup later, so they end before the directory is deleted.
  atEndOfFile(async () => rmSync(directory, { recursive: true, force: true }));
  return { PORT: String(await freePort()), UP_DIRECTORY: directory };
}

describe('up', () => {
  it('starts everything, shows tasks in order of priority, and stops everything', async () => {
    const env = await environment();
    const up = startProcess(['node', 'scripts/local/up.ts'], env);
    const address = `http://localhost:${env.PORT}/docs`;
    await untilTrue(() => up.output.includes(address), { timeoutMs: 45_000, describe: () => up.output });
    const order = [...up.output.matchAll(/^ {2}(High|Medium|Low) +COMPLETED/gm)].map((match) => match[1]);
    expect(order).toEqual(['High', 'High', 'Medium', 'Medium', 'Low', 'Low']);

    const second = startProcess(['node', 'scripts/local/up.ts'], env);
    expect(await second.waitForExit()).toEqual({ code: 0, signal: null });
    expect(second.output).toContain(`already running (process ${up.pid})`);
    expect(second.output).toContain(address);

    const tree = processTree(up.pid);
    // The tree has at least `up` itself, PostgreSQL, Redis, the API, two workers and the reclaimer.
    expect(tree.length).toBeGreaterThanOrEqual(7);
    const down = startProcess(['node', 'scripts/local/down.ts'], env);
    expect(await down.waitForExit(45_000)).toEqual({ code: 0, signal: null });
    expect(await up.waitForExit()).toEqual({ code: 0, signal: null });
    expect(tree.filter(isAlive)).toEqual([]);
  });

  it.each([
    [['--detatch'], '8000', /^Unknown option '--detatch'[^]*usage: scripts\/up \[--detach\]\n$/],
    [['now'], '8000', /^Unexpected argument 'now'[^]*usage: /],
    [[], 'http', /^PORT: expected a whole number from 0 to 65535; given "http"\n$/],
    [[], '70000', /^PORT: expected a whole number from 0 to 65535; given "70000"\n$/],
  ])('refuses %j with PORT=%s and a short message', async (args, PORT, sentence) => {
    const up = startProcess(['node', 'scripts/local/up.ts', ...args], { ...(await environment()), PORT });
    expect(await up.waitForExit()).toEqual({ code: 1, signal: null });
    expect(up.output).toMatch(sentence);
  });

  it('names the port that another program uses, and starts nothing', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const up = startProcess(['node', 'scripts/local/up.ts'], { ...(await environment()), PORT: String(port) });
    expect(await up.waitForExit()).toEqual({ code: 1, signal: null });
    expect(up.output).toBe(
      `Port ${port} is in use by another program. Choose another one: PORT=${port + 1} ./scripts/up\n`,
    );
    other.close();
  });
});

describe('up with given stores', () => {
  it('reports why the database cannot be used', async () => {
    const given = { DATABASE_URL: 'postgresql://nobody@127.0.0.1:1/none', REDIS_URL: 'redis://127.0.0.1:1' };
    const up = startProcess(['node', 'scripts/local/up.ts'], { ...(await environment()), ...given });
    expect(await up.waitForExit()).toEqual({ code: 1, signal: null });
    expect(up.output).toContain('PostgreSQL: DATABASE_URL of the environment');
    expect(up.output).toContain('the database could not be migrated: connect ECONNREFUSED 127.0.0.1:1\n');
  });

  it('starts only once when it is called twice at the same time', async () => {
    const env = { ...(await createTestStores()).env, ...(await environment()) };
    const both = [1, 2].map(() => startProcess(['node', 'scripts/local/up.ts', '--detach'], env));
    const exits = await Promise.all(both.map((up) => up.waitForExit()));
    expect(exits, both.map(({ output }) => output).join()).toEqual([1, 2].map(() => ({ code: 0, signal: null })));
    const down = startProcess(['node', 'scripts/local/down.ts'], env);
    expect(await down.waitForExit(45_000)).toEqual({ code: 0, signal: null });
    expect(down.output).toBe('stopped\n');
  });

  it('reports why a process does not start, and stops the others', async () => {
    const { env } = await createTestStores();
    const up = startProcess(['node', 'scripts/local/up.ts'], {
      ...env,
      ...(await environment()),
      HANDLERS: '/none.ts',
    });
    expect(await up.waitForExit()).toEqual({ code: 1, signal: null });
    expect(up.output).toMatch(/\nworker-[12] ended \(1\): HANDLERS: \/none\.ts: .*; see .*worker-[12]\.log\n/);
    expect(up.output).not.toContain(' at ');
  });

  it.each([
    ['a paused queue', 0, {}, 'the queue mail is paused'],
    ['a queue that already has tasks', 100, {}, 'tasks wait in the queue mail already'],
  ])('runs with %s, without examples and on a free port', async (_what, waiting, more, reason) => {
    const stores = await createTestStores();
    const tasks = createTaskFixture(stores);
    // These tasks fill the slots of both workers, and none of them ends soon.
    for (let i = 0; i < Math.max(1, waiting); i++) await tasks.submit({ queue: 'mail', executionTimeSeconds: 60 });
    if (waiting === 0) await tasks.admin.setPaused('mail', true);
    await tasks.close();

    const own = { PORT: '0', WORKER_QUEUES: 'mail', SHUTDOWN_GRACE: '0s', ...more };
    const given = { ...stores.env, ...(await environment()), ...own };
    const up = startProcess(['node', 'scripts/local/up.ts'], given);
    const told = /API and documentation +http:\/\/localhost:(\d+)\/docs/;
    await untilTrue(() => told.test(up.output), { timeoutMs: 45_000, describe: () => up.output });
    expect(up.output).toContain(`no examples this time: ${reason}\n`);
    expect((await fetch(`http://localhost:${told.exec(up.output)?.[1]}/readyz`)).status).toBe(200);
    up.signal('SIGTERM');
    expect(await up.waitForExit(45_000)).toEqual({ code: 0, signal: null });
  });
});

describe('clients', () => {
  it('makes a key for the running system, with its stores', async () => {
    const own = { ...(await createTestStores()).env, ...(await environment()), PORT: '0', AUTH: 'keys' };
    const up = startProcess(['node', 'scripts/local/up.ts'], own);
    const told = /API and documentation +http:\/\/localhost:(\d+)\/docs/;
    await untilTrue(() => told.test(up.output), { timeoutMs: 45_000, describe: () => up.output });
    expect(up.output).toContain('./scripts/clients create NAME --role ROLE makes one\n');

    // Only where `up` runs is told to the command.
    const { UP_DIRECTORY } = own;
    const clients = startProcess(['node', 'scripts/local/clients.ts', 'create', 'shop', '--role', 'viewer'], {
      UP_DIRECTORY,
    });
    expect(await clients.waitForExit()).toEqual({ code: 0, signal: null });
    const [secret = ''] = /^sch_\w+$/m.exec(clients.output) ?? [];
    const queues = `http://localhost:${told.exec(up.output)?.[1]}/queues`;
    const statuses = [{}, { authorization: `Bearer ${secret}` }].map(async (headers) => {
      return (await fetch(queues, { headers })).status;
    });
    expect(await Promise.all(statuses)).toEqual([401, 200]);
    expect(statSync(join(UP_DIRECTORY, 'up.json')).mode & 0o077).toBe(0);
    up.signal('SIGTERM');
    expect(await up.waitForExit(45_000)).toEqual({ code: 0, signal: null });
  });

  it('says that nothing runs', async () => {
    const clients = startProcess(['node', 'scripts/local/clients.ts', 'list'], await environment());
    expect(await clients.waitForExit()).toEqual({ code: 1, signal: null });
    expect(clients.output).toBe('nothing runs here: start it with ./scripts/up\n');
  });
});

describe('down', () => {
  it('does nothing if nothing runs', async () => {
    const down = startProcess(['node', 'scripts/local/down.ts'], await environment());
    expect(await down.waitForExit()).toEqual({ code: 0, signal: null });
    expect(down.output).toBe('nothing is running\n');
  });
});
