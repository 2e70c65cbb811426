import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { withConnection } from '../../scripts/stores/postgres.ts';
import { startProcess, type TestProcess } from '../../test/harness/processes.ts';
import { createTestStores } from '../../test/harness/stores.ts';

function start(env: Record<string, string>): TestProcess {
  return startProcess(['node', 'src/main.ts', 'api'], { RATE_LIMIT_PER_MINUTE: '0', ...env });
}

async function untilListening(api: TestProcess): Promise<string> {
  const { port } = await api.waitForLine(({ msg }) => msg === 'api listening');
  return `http://127.0.0.1:${String(port)}`;
}

const submit = (url: string, payload: unknown): Promise<Response> =>
  fetch(`${url}/tasks`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ payload }),
  });

describe('scheduler api', () => {
  it('at SIGTERM turns unready, serves for the delay, keeps accepted tasks and exits with 0', async () => {
    const stores = await createTestStores();
    const api = start({ ...stores.env, SHUTDOWN_DELAY: '500ms' });
    const url = await untilListening(api);
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    api.signal('SIGTERM');
    await api.waitForLine(({ msg }) => msg === 'stopping');
    const probe = await fetch(`${url}/readyz`);
    expect({ status: probe.status, connection: probe.headers.get('connection') }).toEqual({
      status: 503,
      connection: 'close',
    });
    const accepted = await submit(url, 'late');
    expect(accepted.status).toBe(200);
    const { id } = (await accepted.json()) as { id: string };
    expect(await api.waitForExit()).toEqual({ code: 0, signal: null });
    const { rows } = await withConnection(stores.databaseUrl, (client) => client.query('SELECT id FROM tasks'));
    expect(rows).toEqual([{ id }]);
  });

  it('names the port that is in use', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const api = start({ ...(await createTestStores()).env, PORT: String(port) });
    expect((await api.waitForExit()).code).toBe(1);
    expect(api.output).toContain(`port ${port} is in use already`);
    other.close();
  });

  it('refuses a trusted proxy that is not an address', async () => {
    const api = start({ ...(await createTestStores()).env, TRUSTED_PROXIES: 'proxy.local' });
    expect((await api.waitForExit()).code).toBe(2);
    expect(api.output).toContain('TRUSTED_PROXIES: expected an address or a CIDR range');
  });

  it('logs no payload, no key and no header', async () => {
    const stores = await createTestStores();
    const api = start({ ...stores.env, LOG_LEVEL: 'debug' });
    const url = await untilListening(api);
    await fetch(`${url}/tasks`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: 'Bearer hidden-1', 'x-trace-id': 'my-trace' },
      body: JSON.stringify({ payload: { password: 'hidden-2' } }),
    });
    await api.waitForLine(
      ({ msg, trace_id, task_id }) => msg === 'request' && trace_id === 'my-trace' && typeof task_id === 'string',
    );
    expect(api.output).not.toContain('hidden');
  });
});
