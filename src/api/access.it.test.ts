import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { migrate, startPostgres } from '../../test/harness/private-stores.ts';
import { startProcess, untilTrue } from '../../test/harness/processes.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import { startApi, type RunningApi } from '../../test/running-api.ts';
import { makeSecret } from '../core/access/secret.ts';
import { clientsCommand } from '../features/access/command.ts';

async function createClient(env: Record<string, string>, ...args: string[]): Promise<string> {
  let [secret, errors] = ['', ''];
  const output = { out: (text: string) => void (secret += text), err: (text: string) => void (errors += text) };
  if ((await clientsCommand(['create', ...args], env, output)) !== 0) throw new Error(errors);
  return secret.trim();
}

const bearer = (secret: string) => ({ Authorization: `Bearer ${secret}` });
const statusOf = async (api: RunningApi, secret: string) =>
  (await api.request('/clients/self', { headers: bearer(secret) })).status;

describe('while PostgreSQL is away', () => {
  it('known clients stay valid, unknown ones are refused, and a new process refuses all', async () => {
    const postgres = await startPostgres();
    const stores = await createTestStores({ databaseUrl: postgres.url });
    await migrate(stores.env);
    const secret = await createClient(stores.env, 'shop', '--role', 'viewer');
    const api = await startApi({ ...stores.env, AUTH: 'keys' });
    expect(await statusOf(api, secret)).toBe(200);

    await postgres.stop();
    expect(await statusOf(api, secret)).toBe(200);
    expect(await statusOf(api, makeSecret(randomBytes).text)).toBe(401);
    const fresh = await startApi({ ...stores.env, AUTH: 'keys' });
    const before = performance.now();
    const refused = await fresh.request('/clients/self', { headers: bearer(secret) });
    expect(refused.body).toMatchObject({ status: 503, code: 'postgresql_unavailable' });
    expect(refused.headers.get('retry-after')).not.toBeNull();
    expect(performance.now() - before).toBeLessThan(8_000);
    expect((await fresh.request('/healthz')).status).toBe(200);

    await postgres.restart();
    await expect.poll(() => statusOf(fresh, secret), { timeout: 15_000 }).toBe(200);
  }, 90_000);
});

describe('the log', () => {
  it('has the name of the client, its address, and never a secret, at the lowest level', async () => {
    const stores = await createTestStores();
    const secret = await createClient(stores.env, 'shop', '--role', 'submitter');
    const wrong = makeSecret(randomBytes);
    const env = { ...stores.env, AUTH: 'keys', LOG_LEVEL: 'trace' };
    const api = startProcess(['node', 'src/main.ts', 'api'], env);
    const { port } = await api.waitForLine(({ msg }) => msg === 'api listening');
    const send = async (path: string, key: string, body: unknown = { payload: key }) => {
      const headers = { ...bearer(key), 'content-type': 'application/json', 'X-Trace-ID': key };
      const response = await fetch(`http://127.0.0.1:${port as number}${path}`, {
        method: 'POST',
        headers,
        body: JSON.stringify(body),
      });
      return response.status;
    };
    expect(await send('/tasks', secret)).toBe(200);
    expect(await send(`/tasks/${secret}/cancel`, secret)).toBe(403);
    expect(await send(`/nothing/${secret}?key=${secret}`, secret)).toBe(404);
    expect(await send('/tasks', secret, { queue: secret, action: secret, nothing: secret })).toBe(422);
    for (const key of [wrong.text, wrong.text.slice(0, -1), 'a key of another kind, which is long']) {
      expect(await send('/tasks', key)).toBe(401);
    }
    await untilTrue(() => api.lines.filter(({ msg }) => msg === 'request').length === 7);
    api.signal('SIGTERM');
    await api.waitForExit();

    const requests = api.lines.filter(({ msg }) => msg === 'request');
    expect(requests[0]).toMatchObject({ client: 'shop', address: '127.0.0.1', status: 200 });
    expect(requests[1]).toMatchObject({ client: 'shop', status: 403, code: 'missing_scope' });
    expect(requests[4]).toMatchObject({ secret_id: wrong.id, status: 401, code: 'unauthenticated' });
    expect(requests[4]).not.toHaveProperty('client');
    for (const text of [secret, wrong.text]) expect(api.output).not.toContain(text.slice(13, 21));
    expect(api.output).not.toContain('a key of another kind');
  });
});

describe('AUTH', () => {
  const start = async (env: Record<string, string>) => {
    const { env: stores } = await createTestStores();
    const api = startProcess(['node', 'src/main.ts', 'api'], { ...stores, ...env });
    const { port } = await api.waitForLine(({ msg }) => msg === 'api listening');
    const { status } = await fetch(`http://127.0.0.1:${port as number}/tasks`);
    const warned = api.lines.some(({ level, msg }) => level === 'warn' && String(msg).includes('AUTH'));
    return { status, warned };
  };

  it('is open on loopback, and needs keys where others can reach the API', async () => {
    expect(await start({ HOST: '127.0.0.1' })).toEqual({ status: 200, warned: false });
    expect(await start({ HOST: '0.0.0.0' })).toEqual({ status: 401, warned: false });
    expect(await start({ HOST: '127.0.0.1', AUTH: 'keys' })).toEqual({ status: 401, warned: false });
  }, 60_000);

  it('warns if it is open where others can reach the API', async () => {
    expect(await start({ HOST: '0.0.0.0', AUTH: 'open' })).toEqual({ status: 200, warned: true });
  });

  it('does not start with a directory of clients that cannot be read', async () => {
    const { env } = await createTestStores();
    const api = startProcess(['node', 'src/main.ts', 'api'], { ...env, AUTH: 'keys', CLIENTS_DIR: '/nonexistent' });
    expect(await api.waitForExit()).toMatchObject({ code: 1 });
    expect(api.output).toContain('CLIENTS_DIR cannot be read');
  });
});
