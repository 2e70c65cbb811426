import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { withConnection } from '../../scripts/stores/postgres.ts';
import { startProcess, untilTrue, type TestProcess } from '../../test/harness/processes.ts';
import { createTestStores, type TestStores } from '../../test/harness/stores.ts';

const MEBIBYTE = 1_048_576;

let stores: TestStores;
beforeAll(async () => {
  stores = await createTestStores();
});

const running: TestProcess[] = [];
afterEach(async () => {
  for (const api of running.splice(0)) {
    api.signal('SIGKILL');
    await api.waitForExit();
  }
});

/** Starts an API process as in a container of 512 MiB, with half of that for JavaScript objects. */
async function startSmallApi(env: Record<string, string> = {}) {
  const api = startProcess(['node', '--max-old-space-size=256', 'src/main.ts', 'api'], {
    ...stores.env,
    RATE_LIMIT_PER_MINUTE: '0',
    ...env,
  });
  running.push(api);
  const { port } = (await api.waitForLine(({ msg }) => msg === 'api listening', 60_000)) as { port?: number };
  const url = `http://127.0.0.1:${port}`;
  await untilTrue(async () => (await fetch(`${url}/readyz`)).ok);
  return { api, url, port: port as number };
}

/** Peak memory of a process, in bytes. */
function peakMemory({ pid }: TestProcess): number {
  const [, kilobytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) * 1_024;
}

const send = async (url: string, body: Uint8Array | string, headers: Record<string, string> = {}): Promise<number> => {
  const response = await fetch(url, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json', ...headers },
  });
  await response.arrayBuffer();
  return response.status;
};

async function statusOf(url: string): Promise<number> {
  const response = await fetch(url);
  await response.arrayBuffer();
  return response.status;
}

// The timeout is long because the machine may be busy; the tests measure only memory.
describe('an API with 512 MiB', { timeout: 180_000 }, () => {
  it('survives many short bodies that become long when decompressed', async () => {
    const { api, url } = await startSmallApi();
    const spaces = gzipSync(Buffer.alloc(16 * MEBIBYTE - 100, ' '));
    const objects = gzipSync(`{"tasks":[{"payload":[${'{"a":0},'.repeat(900_000)}0]}]}`);
    const bodies = Array.from({ length: 24 }, (_, i) => (i % 4 === 0 ? objects : spaces));
    const statuses = await Promise.all(
      bodies.map((body) => send(`${url}/tasks/batch`, body, { 'content-encoding': 'gzip' })),
    );
    // Bodies that were read are invalid; the others were refused for lack of memory.
    expect(new Set(statuses).difference(new Set([400, 413, 503]))).toEqual(new Set());
    expect(statuses).toContain(503);
    expect(peakMemory(api)).toBeLessThan(450 * MEBIBYTE);
    expect(await send(`${url}/tasks`, '{"payload":1}')).toBe(200);
    expect(await (await fetch(`${url}/metrics`)).text()).toMatch(/^scheduler_overloaded_total [1-9]/m);
  });

  const PATH = '/tasks?queue=long&include=payload&limit=200';

  /** Submits more long payloads than fit in one page. */
  async function submitLong(url: string): Promise<void> {
    const task = { queue: 'long', payload: 'x'.repeat(250_000) };
    for (let i = 0; i < 4; i++)
      expect(await send(`${url}/tasks/batch`, JSON.stringify({ tasks: Array.from({ length: 10 }, () => task) }))).toBe(
        200,
      );
  }

  it('survives many readers of long pages', async () => {
    const { api, url } = await startSmallApi();
    await submitLong(url);
    const pages = await Promise.all(
      Array.from({ length: 40 }, async () => {
        const response = await fetch(url + PATH);
        return { status: response.status, bytes: (await response.arrayBuffer()).byteLength };
      }),
    );
    for (const { status, bytes } of pages) {
      expect([200, 503]).toContain(status);
      expect(bytes).toBeLessThan(2 * MEBIBYTE);
    }
    expect(pages.some(({ status }) => status === 200)).toBe(true);
    expect(peakMemory(api)).toBeLessThan(450 * MEBIBYTE);
  });

  it('survives clients that ask for long pages, many on one connection, and do not read them', async () => {
    const { api, url, port } = await startSmallApi({ IN_FLIGHT_MAX_BYTES: String(32 * MEBIBYTE) });
    await submitLong(url);
    const lazy = Array.from({ length: 16 }, () => {
      const socket = connect(port, '127.0.0.1').on('error', () => {});
      socket.pause();
      socket.write(`GET ${PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n`.repeat(20));
      return socket;
    });
    await untilTrue(async () => (await statusOf(url + PATH)) === 503);
    // Probes and metrics are still answered.
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    expect((await fetch(`${url}/metrics`)).status).toBe(200);
    for (const socket of lazy) socket.destroy();
    await untilTrue(async () => (await statusOf(url + PATH)) === 200);
    expect(peakMemory(api)).toBeLessThan(450 * MEBIBYTE);
  });

  it('survives submissions that wait for PostgreSQL', async () => {
    const { api, url } = await startSmallApi();
    const body = JSON.stringify({ payload: 'x'.repeat(250_000) });
    await withConnection(stores.databaseUrl, async (client) => {
      await client.query('BEGIN');
      await client.query('LOCK TABLE submissions IN ACCESS EXCLUSIVE MODE');
      const sent = Array.from({ length: 400 }, () => send(`${url}/tasks`, body));
      const first = await Promise.race(sent);
      expect(first).toBe(503);
      await client.query('ROLLBACK');
      const statuses = await Promise.all(sent);
      expect(new Set(statuses)).toEqual(new Set([200, 503]));
    });
    expect(peakMemory(api)).toBeLessThan(450 * MEBIBYTE);
    await untilTrue(async () => (await send(`${url}/tasks`, body)) === 200);
  });
});
