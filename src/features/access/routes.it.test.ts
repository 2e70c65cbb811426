import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { createTestStores } from '../../../test/harness/stores.ts';
import { startApi, type Reply, type RunningApi } from '../../../test/running-api.ts';

const ROOT_SECRET = 'the secret of the first client, from a file';
const clientsDir = mkdtempSync(join(tmpdir(), 'clients-'));

let apis: readonly [RunningApi, RunningApi];
beforeAll(async () => {
  mkdirSync(join(clientsDir, 'root'));
  writeFileSync(join(clientsDir, 'root/secret'), `${ROOT_SECRET}\n`);
  writeFileSync(join(clientsDir, 'root/role'), 'admin');
  const { env } = await createTestStores();
  const start = () => startApi({ ...env, AUTH: 'keys', CLIENTS_DIR: clientsDir });
  apis = [await start(), await start()];
}, 60_000);

/** Sends a request with a key to one of the API processes. */
function call(key: string, method: string, path: string, body?: unknown, api = apis[0]): Promise<Reply> {
  const content = body === undefined ? {} : { body: JSON.stringify(body) };
  const headers = { Authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  return api.request(path, { method, headers, ...content });
}
const asRoot = (method: string, path: string, body?: unknown) => call(ROOT_SECRET, method, path, body);

let serial = 0;
async function created(terms: object = { role: 'viewer' }): Promise<{ name: string; secret: string; id: string }> {
  const name = `client-${++serial}`;
  const { status, body } = await asRoot('POST', '/clients', { name, ...terms });
  expect(status, JSON.stringify(body)).toBe(201);
  return { name, secret: body.secret, id: body.secrets[0].id };
}

describe('/clients', () => {
  it('creates a client whose secret works at once in every process, for what its role may do', async () => {
    const { secret } = await created({ role: 'submitter', queues: ['orders.*'], limits: { rate_per_minute: 600 } });
    for (const api of apis) {
      expect((await call(secret, 'GET', '/tasks', undefined, api)).status).toBe(200);
      const refused = await call(secret, 'POST', '/queues/default/pause', undefined, api);
      expect(refused.status).toBe(403);
      expect(refused.body).toMatchObject({ code: 'missing_scope', detail: expect.stringContaining('`operate`') });
      expect((await call(secret, 'GET', '/clients', undefined, api)).status).toBe(403);
    }
    expect((await call(secret, 'GET', '/clients/self')).body).toEqual({
      name: expect.any(String),
      role: 'submitter',
      scopes: ['submit', 'read'],
      queues: ['orders.*'],
      actions: ['*'],
      limits: { rate_per_minute: 600, burst: null, unfinished_max: null, delay_max: null, timeout_max: null },
    });
  });

  it('shows the secret only once', async () => {
    const { name, secret, id } = await created();
    const shown = await asRoot('GET', `/clients/${name}`);
    expect(shown.body).toMatchObject({ name, role: 'viewer', source: 'postgresql', secrets: [{ id }] });
    const listed = await asRoot('GET', '/clients?limit=200');
    for (const { body } of [shown, listed]) expect(JSON.stringify(body)).not.toContain(secret.slice(13));
    expect(secret.startsWith(`sch_${id}_`)).toBe(true);
  });

  it('lists clients page by page, those in files among them', async () => {
    for (let i = 0; i < 3; i++) await created();
    const names: string[] = [];
    for (let cursor = ''; ;) {
      const { body } = await asRoot('GET', `/clients?limit=2${cursor}`);
      names.push(...body.items.map(({ name }: { name: string }) => name));
      expect(body.items.length).toBeLessThanOrEqual(2);
      if (body.next_cursor === null) break;
      cursor = `&cursor=${body.next_cursor}`;
    }
    expect(names).toEqual(names.toSorted());
    expect(names).toContain('root');
    expect(new Set(names).size).toBe(names.length);
    const revoked = await created();
    await asRoot('DELETE', `/clients/${revoked.name}`);
    const all = async (query: string) =>
      (await asRoot('GET', `/clients?limit=200${query}`)).body.items.map(({ name }: { name: string }) => name);
    expect(await all('')).not.toContain(revoked.name);
    expect(await all('&revoked=true')).toContain(revoked.name);
  });

  it('changes what a client may do, in this process at once', async () => {
    const { name, secret } = await created({ role: 'viewer', limits: { delay_max: 60 }, note: 'old' });
    const { body } = await asRoot('PATCH', `/clients/${name}`, { role: 'operator', limits: { delay_max: null } });
    expect(body).toMatchObject({ role: 'operator', note: 'old', queues: ['*'], limits: { delay_max: null } });
    expect((await call(secret, 'GET', '/clients/self')).body.role).toBe('operator');
    await asRoot('PATCH', `/clients/${name}`, { expires_at: '2020-01-01T00:00:00Z' });
    expect((await call(secret, 'GET', '/clients/self')).body).toMatchObject({
      code: 'secret_expired',
      detail: expect.stringContaining('client'),
    });
    await asRoot('PATCH', `/clients/${name}`, { expires_at: null });
    expect((await call(secret, 'GET', '/clients/self')).status).toBe(200);
  });

  it('refuses a revoked client within five seconds in every process', async () => {
    const { name, secret } = await created();
    expect((await asRoot('DELETE', `/clients/${name}`)).status).toBe(204);
    const revokedMs = performance.now();
    // This process follows its own change at once; the other one when it looks.
    expect((await call(secret, 'GET', '/tasks')).status).toBe(401);
    await expect
      .poll(async () => (await call(secret, 'GET', '/tasks', undefined, apis[1])).status, { timeout: 8_000 })
      .toBe(401);
    expect(performance.now() - revokedMs).toBeLessThan(5_000);
    expect((await asRoot('GET', `/clients/${name}`)).status).toBe(404);
    expect((await asRoot('GET', `/clients/${name}?revoked=true`)).body).toMatchObject({
      revoked_at: expect.any(String),
      secrets: [],
    });
    expect((await asRoot('DELETE', `/clients/${name}`)).status).toBe(204);
    expect((await asRoot('PATCH', `/clients/${name}`, { note: 'x' })).status).toBe(404);
    expect((await asRoot('POST', '/clients', { name, role: 'admin' })).body.code).toBe('client_exists');
  });

  it('rotates secrets: both work, until the older one ends', async () => {
    const { name, secret } = await created();
    const { body } = await asRoot('POST', `/clients/${name}/rotate`, { overlap: 3_600 });
    for (const key of [secret, body.secret]) expect((await call(key, 'GET', '/tasks')).status).toBe(200);
    expect((await asRoot('POST', `/clients/${name}/rotate`)).body.code).toBe('too_many_secrets');
    const { body: last } = await asRoot('POST', `/clients/${name}/rotate`, { overlap: 0 });
    for (const key of [secret, body.secret]) {
      expect((await call(key, 'GET', '/tasks')).body).toMatchObject({ code: 'secret_expired', status: 401 });
    }
    expect((await call(last.secret, 'GET', '/tasks')).status).toBe(200);
  });

  it('revokes one secret of two', async () => {
    const { name, secret, id } = await created();
    const { body } = await asRoot('POST', `/clients/${name}/rotate`);
    expect((await asRoot('DELETE', `/clients/${name}/secrets/${id}`)).status).toBe(204);
    expect((await call(secret, 'GET', '/tasks')).body.code).toBe('unauthenticated');
    expect((await call(body.secret, 'GET', '/tasks')).status).toBe(200);
    expect((await asRoot('DELETE', `/clients/${name}/secrets/${id}`)).body.code).toBe('secret_not_found');
  });

  it.each([
    [{ name: 'ok' }, '/role'],
    [{ name: 'ok', role: 'viewer', scopes: ['read'] }, '/scopes'],
    [{ name: 'self', role: 'viewer' }, '/name'],
    [{ name: 'No', role: 'viewer' }, '/name'],
    [{ name: 'ok', role: 'root' }, '/role'],
    [{ name: 'ok', scopes: [] }, '/scopes'],
    [{ name: 'ok', role: 'viewer', queues: ['a.*.b'] }, '/queues/0'],
    [{ name: 'ok', role: 'viewer', limits: { burst: 0 } }, '/limits/burst'],
    [{ name: 'ok', role: 'viewer', limits: { other: 1 } }, '/limits/other'],
    [{ name: 'ok', role: 'viewer', note: 'a\nb' }, '/note'],
    [{ name: 'ok', role: 'viewer', secret: 'mine' }, '/secret'],
  ])('refuses %j', async (body, path) => {
    const reply = await asRoot('POST', '/clients', body);
    expect(reply.status).toBe(422);
    expect(reply.body.errors.map((error: { path: string }) => error.path)).toContain(path);
  });

  it('answers 404 for unknown clients', async () => {
    const paths = ['GET /clients/none', 'DELETE /clients/none', 'PATCH /clients/none', 'POST /clients/none/rotate'];
    for (const text of paths) {
      const [method = '', path = ''] = text.split(' ');
      const reply = await asRoot(method, path, method === 'GET' || method === 'DELETE' ? undefined : {});
      expect(reply.body, text).toMatchObject({ status: 404, code: 'client_not_found' });
    }
  });
});

describe('clients in files', () => {
  it('can be seen, and not changed', async () => {
    expect((await asRoot('GET', '/clients/root')).body).toMatchObject({ source: 'files', role: 'admin', secrets: [] });
    for (const [method, path, body] of [
      ['POST', '/clients', { name: 'root', role: 'viewer' }],
      ['PATCH', '/clients/root', { note: 'mine' }],
      ['DELETE', '/clients/root', undefined],
      ['POST', '/clients/root/rotate', {}],
      ['DELETE', '/clients/root/secrets/abcdefgh', undefined],
    ] as const) {
      expect((await asRoot(method, path, body)).body, `${method} ${path}`).toMatchObject({ code: 'client_in_files' });
    }
  });

  it('come and go with their files', async () => {
    const key = 'x'.repeat(40);
    mkdirSync(join(clientsDir, 'later'));
    writeFileSync(join(clientsDir, 'later/secret'), key);
    writeFileSync(join(clientsDir, 'later/role'), 'metrics');
    const status = async () => (await call(key, 'GET', '/clients/self')).status;
    // A role that does not exist leaves the client out.
    expect(await status()).toBe(401);
    writeFileSync(join(clientsDir, 'later/role'), 'viewer');
    await expect.poll(status, { timeout: 6_000 }).toBe(200);
    rmSync(join(clientsDir, 'later'), { recursive: true });
    await expect.poll(status, { timeout: 6_000 }).toBe(401);
  });
});

describe('without a key', () => {
  it('nothing can be used but the probes and the documents', async () => {
    const { paths } = (await apis[0].request('/openapi.json')).body;
    for (const [path, operations] of Object.entries<Record<string, { security: object[] }>>(paths)) {
      for (const [method, { security }] of Object.entries(operations)) {
        const reply = await apis[0].request(path.replaceAll(/\{\w+\}/g, 'x'), { method: method.toUpperCase() });
        if (security.length === 0) expect(reply.status, `${method} ${path}`).not.toBe(401);
        else {
          expect(reply.status, `${method} ${path}`).toBe(401);
          expect(reply.headers.get('www-authenticate')).toContain('Bearer');
        }
      }
    }
  });

  it('a wrong key says nothing but that it is wrong, and is counted', async () => {
    const { secret } = await created();
    const failures = async (): Promise<number> => {
      const { body } = await asRoot('GET', '/metrics');
      return Number(/scheduler_auth_failures_total\{reason="unknown"\} (\d+)/.exec(body as string)?.[1]);
    };
    const before = await failures();
    const wrong = `${secret.slice(0, 13)}${'0'.repeat(38)}`;
    for (const key of [wrong, 'sch_00000000_000000000000000000000000000000003O0ZPE', 'password']) {
      const reply = await call(key, 'GET', '/tasks');
      expect(reply.body).toMatchObject({ code: 'unauthenticated', status: 401 });
    }
    expect((await failures()) - before).toBe(3);
  });
});
