import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { freePort } from '../../scripts/stores/private-server.ts';
import { isAlive, processTree } from '../../scripts/stores/process-tree.ts';
import { atEndOfFile } from '../harness/end-of-file.ts';
import { startProcess, untilTrue } from '../harness/processes.ts';

async function environment(): Promise<{ PORT: string; UP_DIRECTORY: string }> {
  const directory = mkdtempSync(join(tmpdir(), 'scheduler-up-'));
  // PostgreSQL may run as another account, which has to get in.
  chmodSync(directory, 0o711);
  // After the processes, which register later and so are ended earlier.
  atEndOfFile(async () => rmSync(directory, { recursive: true, force: true }));
  return { PORT: String(await freePort()), UP_DIRECTORY: directory };
}

describe('up', () => {
  it('starts everything from nothing, shows tasks in order of priority, and takes all of it down', async () => {
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
    // Itself, PostgreSQL, Redis, API, two workers and the reclaimer, at least.
    expect(tree.length).toBeGreaterThanOrEqual(7);
    const down = startProcess(['node', 'scripts/local/down.ts'], env);
    expect(await down.waitForExit(45_000)).toEqual({ code: 0, signal: null });
    expect(await up.waitForExit()).toEqual({ code: 0, signal: null });
    expect(tree.filter(isAlive)).toEqual([]);
  });

  it('names the port that another program holds, and starts nothing', async () => {
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

describe('up with stores that are given', () => {
  it('says why the database cannot be used', async () => {
    const given = { DATABASE_URL: 'postgresql://nobody@127.0.0.1:1/none', REDIS_URL: 'redis://127.0.0.1:1' };
    const up = startProcess(['node', 'scripts/local/up.ts'], { ...(await environment()), ...given });
    expect(await up.waitForExit()).toEqual({ code: 1, signal: null });
    expect(up.output).toContain('PostgreSQL: DATABASE_URL of the environment');
    expect(up.output).toContain('the database could not be migrated: connect ECONNREFUSED 127.0.0.1:1\n');
  });
});

describe('down', () => {
  it('does nothing where nothing runs', async () => {
    const down = startProcess(['node', 'scripts/local/down.ts'], await environment());
    expect(await down.waitForExit()).toEqual({ code: 0, signal: null });
    expect(down.output).toBe('nothing is running\n');
  });
});
