import { randomBytes } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { makeSecret } from '../../src/core/access/secret.ts';
import { as } from '../harness/clients.ts';
import { untilTrue } from '../harness/processes.ts';
import { createTestStores } from '../harness/stores.ts';
import { besiege, secretOfClient, type BesiegedApi, type Loot } from './besieged-api.ts';
import { randomOf } from './forged-secrets.ts';

/** Programs of an attacker who has a cookie of somebody, or would like to have one. */
const NAME = '__Host-scheduler-session';
const PAGE = { 'sec-fetch-site': 'same-origin' };
const CLIENTS = { owner: { role: 'admin' }, viewer: { role: 'viewer' } } as const;

let api: BesiegedApi;
beforeAll(async () => {
  api = await besiege(await createTestStores(), CLIENTS);
});

const tokenIn = ({ text }: Loot): string =>
  new RegExp(`^set-cookie: ${NAME}=([A-Za-z0-9_-]{43});`, 'm').exec(text)?.[1] ?? '';
const withToken = (token: string, more: Record<string, string> = {}) => ({
  cookie: `${NAME}=${token}`,
  ...PAGE,
  ...more,
});

async function logIn(secret: string, on = api): Promise<string> {
  const loot = await on.send(PAGE, 'POST', '/session', { secret });
  expect(loot.status).toBe(200);
  return tokenIn(loot);
}

describe('a stolen cookie', () => {
  it('ends with the secret of its owner, with the session, and with all sessions of the client', async () => {
    const ends: ((made: { name: string; id: string; session: string }) => Promise<unknown>)[] = [
      ({ name, id }) => api.send('owner', 'DELETE', `/clients/${name}/secrets/${id}`),
      ({ name }) => api.send('owner', 'DELETE', `/clients/${name}`),
      ({ name }) => api.send('owner', 'POST', `/clients/${name}/rotate`, { overlap: 0 }),
      ({ session }) => api.send('owner', 'DELETE', `/sessions/${session}`),
      ({ name }) => api.send('owner', 'DELETE', `/sessions?client=${name}`),
    ];
    for (const [i, end] of ends.entries()) {
      const name = `person-${i}`;
      const { body } = await api.send('owner', 'POST', '/clients', { name, role: 'viewer' });
      const token = await logIn(body.secret as string);
      const session = (await api.send(withToken(token), 'GET', '/session')).body.id as string;
      expect((await api.send(withToken(token), 'GET', '/tasks')).status).toBe(200);
      await end({ name, id: body.secrets[0].id as string, session });
      const after = await api.send(withToken(token), 'GET', '/tasks');
      expect([after.status, after.body.code], `end ${i}`).toEqual([401, 'session_ended']);
    }
  });

  it('can do no more than its owner', async () => {
    const token = await logIn(secretOfClient('viewer'));
    for (const path of ['/queues/default/pause', '/clients', '/tasks', '/dlq/requeue']) {
      expect((await api.send(withToken(token), 'POST', path, {})).body.code, path).toBe('missing_scope');
    }
    for (const path of ['/sessions', '/clients', '/audit']) {
      expect((await api.send(withToken(token), 'GET', path)).body.code, path).toBe('missing_scope');
    }
  });

  it('works under no name of the attacker, and has no effect without the headers of a browser', async () => {
    const token = await logIn(secretOfClient('owner'));
    const cookie = `Cookie: ${NAME}=${token}`;
    for (const host of ['evil.example', `evil.example:${api.port}`, '127.0.0.1.evil.example', '']) {
      const loot = await api.sendRaw(['GET /tasks HTTP/1.1', `Host: ${host}`, cookie]);
      expect([421, 400], host).toContain(loot.status);
    }
    const own = `Host: 127.0.0.1:${api.port}`;
    expect((await api.sendRaw(['GET /tasks HTTP/1.1', own, cookie])).status).toBe(200);
    for (const more of [[], ['Referer: http://127.0.0.1/'], ['Origin: null'], ['Sec-Fetch-Site: cross-site']]) {
      const loot = await api.sendRaw([
        'POST /queues/default/pause HTTP/1.1',
        own,
        cookie,
        ...more,
        'Content-Length: 0',
      ]);
      expect([loot.status, loot.text.includes('"cross_site"')], more.join()).toEqual([403, true]);
    }
  });
});

describe('a forged cookie', () => {
  it('is nothing: not a guessed one, not a part of one, not one in another place, not two', async () => {
    const token = await logIn(secretOfClient('owner'));
    const own = `Host: 127.0.0.1:${api.port}`;
    const ask = async (...lines: string[]) => (await api.sendRaw(['GET /tasks HTTP/1.1', own, ...lines])).status;
    expect(await ask(`Cookie: ${NAME}=${token}`)).toBe(200);
    const forged = [
      ...[
        randomBytes(32).toString('base64url'),
        'A'.repeat(43),
        token.slice(0, -1),
        `${token}A`,
        `"${token}"`,
        `${token}%00`,
        encodeURIComponent(`${token}=`),
        token.toLowerCase(),
        Buffer.from(token, 'base64url').toString('hex'),
        Buffer.from(token, 'base64url').toString('base64'),
        secretOfClient('owner'),
        `' OR 1=1 --`,
      ].map((value) => [`Cookie: ${NAME}=${value}`]),
      [`Cookie: ${NAME.toLowerCase()}=${token}`],
      [`Cookie: scheduler-session=${token}`],
      [`Cookie: x${NAME}=${token}`],
      [`Cookie: x=${NAME}=${token}`],
      [`Cookie: =${NAME}=${token}`],
      [`Cookie2: ${NAME}=${token}`],
      [`Set-Cookie: ${NAME}=${token}`],
      [`X-Cookie: ${NAME}=${token}`],
      [`Cookie: ${NAME}=${token}; ${NAME}=${token}`],
      [`Cookie: ${NAME}=${token}`, `Cookie: ${NAME}=${'A'.repeat(43)}`],
      [`Cookie: ${NAME}=${'A'.repeat(43)}; ${NAME}=${token}`],
      [`Authorization: Bearer ${token}`],
      [`Authorization: Session ${token}`, `Cookie: ${NAME}=${token}`],
      ['Authorization: Bearer x', `Cookie: ${NAME}=${token}`],
      [`X-Session: ${token}`],
    ];
    for (const lines of forged) expect(await ask(...lines), lines.join()).toBe(401);
    expect(await ask(`Cookie: ${NAME}=${token}`)).toBe(200);
  });

  it('does not become a session when its victim logs in (session fixation)', async () => {
    const planted = randomBytes(32).toString('base64url');
    const loot = await api.send(withToken(planted), 'POST', '/session', { secret: secretOfClient('owner') });
    expect(tokenIn(loot)).not.toBe(planted);
    expect((await api.send(withToken(planted), 'GET', '/tasks')).status).toBe(401);
  });

  it('costs neither wrong keys of its address nor anything of those who are logged in', async () => {
    const token = await logIn(secretOfClient('owner'));
    const wrong = Array.from({ length: 300 }, () => withToken(randomBytes(32).toString('base64url')));
    const loot = await Promise.all(wrong.map((headers) => api.send(headers, 'GET', '/tasks')));
    expect(new Set(loot.map(({ status }) => status))).toEqual(new Set([401]));
    expect((await api.send(withToken(token), 'GET', '/tasks')).status).toBe(200);
    expect((await api.send(as('nobody'), 'GET', '/tasks')).status).toBe(401);
  });
});

it('neither a token nor a posted secret is in the output of the API at the lowest level', async () => {
  const besieged = await besiege(await createTestStores(), CLIENTS, { LOG_LEVEL: 'trace' });
  const made = await besieged.send('owner', 'POST', '/clients', { name: 'person', role: 'operator' });
  const secrets = [
    made.body.secret as string,
    secretOfClient('owner'),
    makeSecret(randomBytes).text,
    'a-secret-of-another-kind-that-is-wrong',
  ];
  const tokens: string[] = [];
  const post = async (body: unknown) => {
    const loot = await besieged.send(PAGE, 'POST', '/session', body);
    if (loot.status === 200) tokens.push(tokenIn(loot));
    return loot.status;
  };
  const statuses: number[] = [];
  for (const secret of secrets) {
    for (const body of [
      { secret },
      { secret: [secret] },
      { secret, more: secret },
      { [secret]: secret },
      { secret: secret.repeat(30) },
      `{"secret": "${secret}`,
      secret,
    ])
      statuses.push(await post(body));
    await besieged.send(PAGE, 'POST', `/session?secret=${secret}`, { secret: 1 });
  }
  for (const status of [200, 400, 401, 422]) expect(statuses).toContain(status);
  const forged = randomBytes(32).toString('base64url');
  const use = async (): Promise<number[]> => {
    const found: number[] = [];
    for (const token of [...tokens, forged]) {
      for (const [method, path] of [
        ['GET', '/tasks'],
        ['GET', `/tasks/${token}`],
        ['GET', `/nothing?token=${token}`],
        ['POST', '/queues/default/pause'],
        ['DELETE', `/sessions/${token}`],
      ] as const)
        found.push((await besieged.send(withToken(token), method, path)).status);
      found.push((await besieged.send(withToken(`${token}; ${NAME}=${token}`), 'GET', '/tasks')).status);
    }
    return found;
  };
  expect(new Set(await use())).toEqual(new Set([200, 401, 403, 404, 422]));

  // Statements that fail: their errors have the statement, the row, and a stack.
  await besieged.rows('ALTER TABLE sessions RENAME TO gone; DROP TABLE audit');
  for (const secret of secrets.slice(0, 2)) expect(await post({ secret })).toBe(500);
  await besieged.rows('ALTER TABLE gone RENAME TO sessions');
  for (const secret of secrets.slice(0, 2)) expect(await post({ secret })).toBe(500);
  await besieged.rows('DROP TABLE sessions');
  expect((await besieged.send(withToken(randomBytes(32).toString('base64url')), 'GET', '/tasks')).status).toBe(500);
  for (const token of [...tokens, forged]) await besieged.send(withToken(token), 'DELETE', '/session');

  await untilTrue(() => besieged.process.lines.some(({ msg }) => msg === 'request failed unexpectedly'));
  besieged.process.signal('SIGTERM');
  await besieged.process.waitForExit();
  const { output } = besieged.process;
  expect(output).toContain('"level":"debug"');
  expect(tokens.length).toBeGreaterThanOrEqual(2);
  const own = secrets
    .filter((secret) => secret.startsWith('sch_'))
    .flatMap((secret) => {
      const random = randomOf(secret);
      return [random.slice(0, 8), random.slice(-8)];
    });
  const parts = [...tokens, forged].flatMap((token) => [
    token.slice(0, 12),
    token.slice(-12),
    Buffer.from(token, 'base64url').toString('hex').slice(0, 16),
  ]);
  const texts = [...own, ...parts, secretOfClient('owner').slice(0, 20), 'a-secret-of-another-kind'];
  expect(texts.filter((text) => output.includes(text))).toEqual([]);
});
