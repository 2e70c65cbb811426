import { beforeAll, describe, expect, it } from 'vitest';
import { as, clientsInFiles, rewriteClient, secretOf } from '../../../test/harness/clients.ts';
import { createTestStores, type TestStores } from '../../../test/harness/stores.ts';
import { startApi, type Reply, type RunningApi } from '../../../test/running-api.ts';

let stores: TestStores;
let env: Record<string, string>;
let apis: readonly [RunningApi, RunningApi];

beforeAll(async () => {
  stores = await createTestStores();
  env = { ...stores.env, ...clientsInFiles({ root: { role: 'admin' }, filed: { role: 'viewer' } }) };
  apis = [await startApi(env), await startApi(env)];
}, 60_000);

/** Headers of a page of this server. */
const PAGE = { 'sec-fetch-site': 'same-origin' };
const JSON_TYPE = { 'content-type': 'application/json' };
const NAME = '__Host-scheduler-session';

type Headers = Record<string, string>;

const send = (method: string, path: string, headers: Headers = {}, body?: unknown, api = apis[0]): Promise<Reply> =>
  api.request(path, {
    method,
    headers: { ...PAGE, ...(body === undefined ? {} : JSON_TYPE), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
const asRoot = (method: string, path: string, body?: unknown, api = apis[0]) =>
  send(method, path, as('root'), body, api);

const logIn = (secret: string, headers: Headers = {}, api = apis[0]) =>
  send('POST', '/session', headers, { secret }, api);

interface Person {
  readonly id: string;
  readonly cookie: Headers;
}

async function loggedIn(secret: string, api = apis[0]): Promise<Person> {
  const { status, headers, body } = await logIn(secret, {}, api);
  expect(status, JSON.stringify(body)).toBe(200);
  const [pair = ''] = (headers.get('set-cookie') ?? '').split(';');
  return { id: body.id as string, cookie: { cookie: pair } };
}

let serial = 0;
async function newClient(terms: object = { role: 'viewer' }): Promise<{ name: string; secret: string; id: string }> {
  const name = `client-${++serial}`;
  const { status, body } = await asRoot('POST', '/clients', { name, ...terms });
  expect(status, JSON.stringify(body)).toBe(201);
  return { name, secret: body.secret as string, id: body.secrets[0].id as string };
}

const statusOf = async ({ cookie }: Person, api = apis[0]): Promise<number> =>
  (await send('GET', '/clients/self', cookie, undefined, api)).status;
const statuses = (person: Person): Promise<number[]> => Promise.all(apis.map((api) => statusOf(person, api)));
const auditOf = ({ headers }: Reply) =>
  apis[0].rows<Record<string, unknown>>('SELECT * FROM audit WHERE trace_id = $1', [headers.get('x-trace-id')]);

/** The promise: within five seconds, everywhere. The rest is for a busy machine. */
const EVERYWHERE = { timeout: 7_000, interval: 100 };

describe('logging in with a secret', () => {
  it('sets a cookie with which every process lets the browser do what the client may do', async () => {
    const { name, secret } = await newClient({ role: 'viewer', queues: ['orders.*'] });
    const reply = await logIn(secret);
    expect(reply.body).toEqual({
      how: 'secret',
      id: expect.any(String),
      expires_at: expect.any(String),
      client: expect.objectContaining({ name, role: 'viewer', queues: ['orders.*'] }),
    });
    const setCookie = reply.headers.get('set-cookie') ?? '';
    expect(setCookie).toMatch(
      /^__Host-scheduler-session=[A-Za-z0-9_-]{43}; Max-Age=43200; Path=\/; Secure; HttpOnly; SameSite=Lax$/,
    );
    expect(reply.headers.get('cache-control')).toBe('no-store');
    const inMs = new Date(reply.body.expires_at as string).getTime() - Date.now();
    expect(Math.abs(inMs - 12 * 3_600_000)).toBeLessThan(60_000);
    const cookie = { cookie: setCookie.split(';')[0] as string };
    for (const api of apis) {
      expect((await send('GET', '/tasks', cookie, undefined, api)).status).toBe(200);
      expect((await send('GET', '/clients', cookie, undefined, api)).body).toMatchObject({ code: 'missing_scope' });
      expect((await send('GET', '/session', cookie, undefined, api)).body).toEqual(reply.body);
    }
  });

  it('stores neither the token nor the secret, and leaves a row in the audit log', async () => {
    const { name, secret, id } = await newClient();
    const reply = await logIn(secret);
    const token = /=([^;]+)/.exec(reply.headers.get('set-cookie') ?? '')?.[1] as string;
    const [stored] = await apis[0].rows<{ text: string }>(
      `SELECT s::text || a::text AS text FROM sessions s, audit a WHERE s.id = $1 AND a.trace_id = $2`,
      [reply.body.id, reply.headers.get('x-trace-id')],
    );
    for (const hidden of [token, secret.slice(13), Buffer.from(token).toString('hex')]) {
      expect(stored?.text).not.toContain(hidden);
    }
    expect(await auditOf(reply)).toEqual([
      expect.objectContaining({
        client: name,
        action: 'session.open',
        outcome: 'allowed',
        objects: [`session:${reply.body.id}`, `client:${name}`],
        details: { opened_by: 'secret' },
        address: '127.0.0.1',
      }),
    ]);
    const { items } = (await asRoot('GET', `/sessions?client=${name}`)).body;
    expect(items).toEqual([
      {
        id: reply.body.id,
        client: name,
        opened_by: 'secret',
        secret_id: id,
        grant: null,
        address: '127.0.0.1',
        created_at: expect.any(String),
        used_at: expect.any(String),
        expires_at: reply.body.expires_at,
      },
    ]);
  });

  it('takes the secrets of clients in files, and white space around a secret', async () => {
    const person = await loggedIn(` ${secretOf('filed')}\n`);
    expect(await statuses(person)).toEqual([200, 200]);
    const { items } = (await asRoot('GET', '/sessions?client=filed')).body;
    expect(items[0]).toMatchObject({ client: 'filed', secret_id: null });
  });

  it('refuses wrong secrets as a wrong header is refused, and says nothing of what was given', async () => {
    const wrong = `sch_aaaaaaaa_${'b'.repeat(38)}`;
    // A trace id is random, and may have the same digits.
    const said = (body: { trace_id?: string }): string => JSON.stringify({ ...body, trace_id: null });
    for (const secret of [wrong, 'a wrong secret of another kind that is long enough']) {
      const { status, body, headers } = await logIn(secret);
      expect([status, body.code]).toEqual([401, 'unauthenticated']);
      expect(headers.get('set-cookie')).toBeNull();
      expect(headers.get('www-authenticate')).toContain('invalid_token');
      expect(said(body)).not.toContain('bbbb');
    }
    for (const body of [
      { secret: [wrong] },
      { secret: { wrong } },
      { secret: '' },
      { secret: wrong.repeat(30) },
      { secret: 123_456_789_012_345_680_000 },
      { Secret: wrong },
      { [wrong]: wrong },
      { secret: wrong, more: wrong },
      wrong,
      [wrong],
    ]) {
      const reply = await send('POST', '/session', {}, body);
      expect([reply.status, reply.body.code], JSON.stringify(body)).toEqual([422, 'invalid_request']);
      expect(said(reply.body)).not.toMatch(/bbbb|12345/);
    }
    const raw = await apis[0].send('/session', '{"secret": 123456789012345678901234567890}', PAGE);
    expect([raw.status, said(raw.body).includes('12345')]).toEqual([422, false]);
  });

  it('says that a secret has expired only to who has it', async () => {
    const { name, secret } = await newClient();
    await asRoot('POST', `/clients/${name}/rotate`, { overlap: 0 });
    expect((await logIn(secret)).body).toMatchObject({ status: 401, code: 'secret_expired' });
  });

  it('counts wrong secrets as wrong keys of the address', async () => {
    const fresh = await startApi(env);
    const headerOf = (i: number) => ({ authorization: `Bearer wrong-${i}` });
    // A few come back each second, so somewhat more than 100 may be needed.
    for (let i = 0; i < 50; i++) expect((await logIn(`wrong-${i}`, {}, fresh)).body.code).toBe('unauthenticated');
    const refused: string[] = [];
    for (let i = 0; i < 200 && !refused.includes('too_many_wrong_keys'); i++) {
      refused.push((await send('GET', '/tasks', headerOf(i), undefined, fresh)).body.code as string);
    }
    expect(refused.length).toBeLessThan(200);
    expect((await logIn('wrong', {}, fresh)).body.code).toBe('too_many_wrong_keys');
    expect((await logIn(secretOf('filed'), {}, fresh)).status).toBe(200);
  });

  it('is for pages of this server', async () => {
    const secret = secretOf('filed');
    for (const headers of [
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
      { 'sec-fetch-site': 'cross-site', origin: apis[0].url },
    ]) {
      expect((await logIn(secret, headers)).body).toMatchObject({ status: 403, code: 'cross_site' });
    }
    const bare = await apis[0].post('/session', { secret });
    expect(bare.body).toMatchObject({ status: 403, code: 'cross_site', detail: expect.stringContaining('Origin') });
    expect((await apis[0].post('/session', { secret }, { origin: 'https://evil.example' })).status).toBe(403);
    expect((await apis[0].post('/session', { secret }, { origin: apis[0].url })).status).toBe(200);
    expect(bare.headers.get('set-cookie')).toBeNull();
  });

  it('ends the oldest session when a client has 50 already', async () => {
    const { name, secret } = await newClient();
    const first = await loggedIn(secret);
    expect(await statusOf(first)).toBe(200);
    for (let i = 0; i < 49; i++) await loggedIn(secret);
    expect(await statusOf(first)).toBe(200);
    const reply = await logIn(secret);
    expect((await auditOf(reply))[0]).toMatchObject({
      details: { opened_by: 'secret', ended: [first.id] },
    });
    expect(await statusOf(first)).toBe(401);
    await expect.poll(() => statusOf(first, apis[1]), EVERYWHERE).toBe(401);
    const rows = await apis[0].rows('SELECT FROM sessions WHERE client = $1', [name]);
    expect(rows).toHaveLength(50);
  });
});

describe('a session', () => {
  it('ends with a logout, here at once and everywhere within five seconds; a repeated logout is no error', async () => {
    const { name, secret } = await newClient();
    const person = await loggedIn(secret);
    expect(await statuses(person)).toEqual([200, 200]);
    const reply = await send('DELETE', '/session', person.cookie);
    expect([reply.status, reply.headers.get('set-cookie')]).toEqual([
      204,
      `${NAME}=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax`,
    ]);
    expect(await statusOf(person)).toBe(401);
    await expect.poll(() => statusOf(person, apis[1]), EVERYWHERE).toBe(401);
    expect(await auditOf(reply)).toEqual([
      expect.objectContaining({
        client: name,
        action: 'session.end',
        objects: [`session:${person.id}`, `client:${name}`],
      }),
    ]);
    for (const headers of [
      person.cookie,
      {},
      { cookie: `${NAME}=x` },
      { cookie: `${person.cookie['cookie']}; ${NAME}=x` },
    ]) {
      const again = await send('DELETE', '/session', headers);
      expect([again.status, again.headers.get('set-cookie')]).toEqual([204, reply.headers.get('set-cookie')]);
      expect(await auditOf(again)).toEqual([]);
    }
    expect((await send('GET', '/session', person.cookie)).body).toMatchObject({ code: 'session_ended' });
  });

  it('ends with a logout that has several cookies: none of them lives on', async () => {
    const { secret } = await newClient();
    const people = [await loggedIn(secret), await loggedIn(secret)];
    const cookie = people.map((person) => person.cookie['cookie']).join('; ');
    expect((await send('DELETE', '/session', { cookie })).status).toBe(204);
    for (const person of people) expect(await statusOf(person)).toBe(401);
  });

  it('ends within five seconds after its secret or its client was revoked', async () => {
    for (const what of ['secret', 'client'] as const) {
      const { name, secret, id } = await newClient();
      const person = await loggedIn(secret);
      expect(await statuses(person)).toEqual([200, 200]);
      await asRoot('DELETE', what === 'client' ? `/clients/${name}` : `/clients/${name}/secrets/${id}`);
      expect(await statusOf(person)).toBe(401);
      await expect.poll(() => statusOf(person, apis[1]), EVERYWHERE).toBe(401);
      expect((await asRoot('GET', `/sessions?client=${name}`)).body.items).toEqual([]);
    }
  });

  it('ends within five seconds after its secret was rotated away or its client has expired', async () => {
    const rotated = await newClient();
    const expired = await newClient();
    const people = [await loggedIn(rotated.secret), await loggedIn(expired.secret)];
    for (const person of people) expect(await statuses(person)).toEqual([200, 200]);
    await asRoot('POST', `/clients/${rotated.name}/rotate`, { overlap: 0 });
    await asRoot('PATCH', `/clients/${expired.name}`, { expires_at: new Date().toISOString() });
    for (const [i, { name }] of [rotated, expired].entries()) {
      await expect.poll(() => statuses(people[i] as Person), EVERYWHERE).toEqual([401, 401]);
      expect((await asRoot('GET', `/sessions?client=${name}`)).body.items).toEqual([]);
    }
  });

  it('ends when the secret of a client in files is replaced', async () => {
    const own = clientsInFiles({ root: { role: 'admin' }, moved: {} });
    const api = await startApi({ ...stores.env, ...own });
    const person = await loggedIn(secretOf('moved'), api);
    expect(await statusOf(person, api)).toBe(200);
    rewriteClient(own, 'moved', 'another secret of this client, long enough');
    await expect.poll(() => statusOf(person, api), EVERYWHERE).toBe(401);
  });

  it('has a changed role at once', async () => {
    const { name, secret } = await newClient();
    const person = await loggedIn(secret);
    const pause = () => send('POST', '/queues/default/pause', person.cookie);
    expect((await pause()).body.code).toBe('missing_scope');
    await asRoot('PATCH', `/clients/${name}`, { role: 'operator' });
    expect((await pause()).status).toBe(200);
  });

  it('that was opened in one process is known to one that has not read its secret yet', async () => {
    const { secret } = await newClient();
    const person = await loggedIn(secret, apis[1]);
    expect(await statusOf(person)).toBe(200);
  });

  it('ends when its time is over', async () => {
    const person = await loggedIn(secretOf('filed'));
    await apis[0].rows(`UPDATE sessions SET expires_at = clock_timestamp() WHERE id = $1`, [person.id]);
    await expect.poll(() => statuses(person), EVERYWHERE).toEqual([401, 401]);
  });

  it('is not used if the request has a key', async () => {
    const person = await loggedIn(secretOf('filed'));
    const both = await send('GET', '/session', { ...person.cookie, ...as('root') });
    expect(both.body).toMatchObject({ how: 'key', id: null, expires_at: null, client: { name: 'root' } });
    const wrong = await send('GET', '/session', { ...person.cookie, authorization: 'Bearer wrong' });
    expect([wrong.status, wrong.body.code]).toEqual([401, 'unauthenticated']);
    // The browser loses its cookie, so the session must not live on.
    expect((await send('DELETE', '/session', { ...person.cookie, ...as('root') })).status).toBe(204);
    expect(await statusOf(person)).toBe(401);
  });

  it('may have an effect only for pages of this server, under a name of this server', async () => {
    const { secret } = await newClient({ role: 'operator' });
    const { cookie } = await loggedIn(secret);
    const pause = (headers: Headers) => apis[0].request('/queues/default/pause', { method: 'POST', headers });
    expect((await pause(cookie)).body.code).toBe('cross_site');
    expect((await pause({ ...cookie, 'sec-fetch-site': 'cross-site' })).body.code).toBe('cross_site');
    expect((await pause({ ...cookie, origin: 'https://evil.example' })).body.code).toBe('cross_site');
    expect((await pause({ ...cookie, origin: apis[0].url })).status).toBe(200);
    expect((await pause({ ...cookie, ...PAGE })).status).toBe(200);
  });

  it('is named in what its requests leave in the audit log by its client', async () => {
    const { name, secret } = await newClient({ role: 'operator' });
    const { cookie } = await loggedIn(secret);
    await send('POST', '/queues/default/resume', cookie);
    const paused = await send('POST', '/queues/default/pause', cookie);
    expect((await auditOf(paused))[0]).toMatchObject({ client: name, action: 'queue.pause' });
  });
});

describe('the sessions of others', () => {
  it('are listed for admins, newest first, page by page', async () => {
    const { name, secret } = await newClient();
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.unshift((await loggedIn(secret)).id);
    const listed: string[] = [];
    for (let cursor = ''; ;) {
      const { body } = await asRoot('GET', `/sessions?client=${name}&limit=2${cursor}`);
      listed.push(...body.items.map((one: { id: string }) => one.id));
      if (body.next_cursor === null) break;
      cursor = `&cursor=${body.next_cursor}`;
    }
    expect(listed).toEqual(ids);
    const all = (await asRoot('GET', '/sessions?limit=200')).body.items as { id: string }[];
    expect(all.map((one) => one.id)).toEqual(expect.arrayContaining(ids));
    const foreign = await asRoot('GET', `/sessions?client=another&cursor=${'A'.repeat(60)}`);
    expect(foreign.body.code).toBe('invalid_cursor');
    expect((await asRoot('GET', '/sessions?clients=x')).status).toBe(422);
  });

  it('are ended one by one, with a row in the audit log', async () => {
    const { name, secret } = await newClient();
    const [person, other] = [await loggedIn(secret), await loggedIn(secret)];
    expect(await statuses(person)).toEqual([200, 200]);
    const reply = await asRoot('DELETE', `/sessions/${person.id}`);
    expect(reply.status).toBe(204);
    expect(await auditOf(reply)).toEqual([
      expect.objectContaining({
        client: 'root',
        action: 'session.end',
        objects: [`session:${person.id}`, `client:${name}`],
      }),
    ]);
    expect(await statusOf(person)).toBe(401);
    await expect.poll(() => statuses(person), EVERYWHERE).toEqual([401, 401]);
    expect(await statuses(other)).toEqual([200, 200]);
    const again = await asRoot('DELETE', `/sessions/${person.id}`);
    expect(again.body).toMatchObject({ status: 404, code: 'session_not_found' });
    expect(await auditOf(again)).toEqual([]);
    expect((await asRoot('DELETE', '/sessions/not-an-id')).status).toBe(422);
  });

  it('are ended together for one client, with one row that has their number', async () => {
    const { name, secret } = await newClient();
    const people = [await loggedIn(secret), await loggedIn(secret)];
    const reply = await asRoot('DELETE', `/sessions?client=${name}`);
    expect(reply.body).toEqual({ ended: 2 });
    expect(await auditOf(reply)).toEqual([
      expect.objectContaining({ client: 'root', action: 'session.end', objects: [`client:${name}`], count: '2' }),
    ]);
    for (const person of people) expect(await statusOf(person)).toBe(401);
    const again = await asRoot('DELETE', `/sessions?client=${name}`);
    expect([again.body, await auditOf(again)]).toEqual([{ ended: 0 }, []]);
    // Nobody ends all sessions of all people by leaving out a parameter.
    expect((await asRoot('DELETE', '/sessions')).status).toBe(422);
  });

  it('are nothing for others: a refusal is in the audit log with the session', async () => {
    const { name, secret } = await newClient({ role: 'operator' });
    const person = await loggedIn(secret);
    const refused = await send('DELETE', `/sessions/${person.id}`, person.cookie);
    expect(refused.body).toMatchObject({ status: 403, code: 'missing_scope' });
    const refusals = `SELECT objects FROM audit WHERE client = $1 AND action = 'session.end' AND outcome = 'refused'`;
    await expect
      .poll(() => apis[0].rows(refusals, [name]), { timeout: 15_000 })
      .toEqual([{ objects: [`session:${person.id}`] }]);
  });
});

describe('what a page can learn before anybody has logged in', () => {
  it('is how people log in', async () => {
    expect((await send('GET', '/login-options')).body).toEqual({ secret: true, provider: null });
    expect((await send('GET', '/session')).body).toMatchObject({ status: 401, code: 'unauthenticated' });
    expect((await send('GET', '/session', as('root'))).body).toMatchObject({ how: 'key', id: null });
  });
});

describe('an open API', () => {
  it('has no sessions, and says so', async () => {
    const api = await startApi((await createTestStores()).env);
    expect((await send('GET', '/login-options', {}, undefined, api)).body).toEqual({ secret: false, provider: null });
    expect((await logIn('x', {}, api)).body).toMatchObject({ status: 409, code: 'nobody_logs_in' });
    const cookie = { cookie: `${NAME}=${'A'.repeat(43)}` };
    expect((await send('GET', '/session', cookie, undefined, api)).body).toMatchObject({
      how: 'open',
      id: null,
      expires_at: null,
      client: { name: '' },
    });
    expect((await send('DELETE', '/session', cookie, undefined, api)).status).toBe(204);
  });
});
