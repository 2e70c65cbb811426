import { randomBytes } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { makeSecret } from '../../src/core/access/secret.ts';
import { startProcess } from '../harness/processes.ts';
import { createTestStores, type TestStores } from '../harness/stores.ts';
import { bearerLine, besiege, secretOfClient, type BesiegedApi, type Loot } from './besieged-api.ts';
import { forgeSecret, idOf, randomOf, withOther } from './forged-secrets.ts';

/** Clients as people make them: the first one by the command, the others by the first one. */
let stores: TestStores;
let api: BesiegedApi;
let admin: string;
const secrets: Record<'viewer' | 'operator' | 'revoked' | 'expired' | 'rotated' | 'overlapping', string> = {
  viewer: '',
  operator: '',
  revoked: '',
  expired: '',
  rotated: '',
  overlapping: '',
};

const bearer = (secret: string) => ({ authorization: `Bearer ${secret}` });

async function clientsCommand(...args: string[]): Promise<string> {
  const command = startProcess(['node', 'src/main.ts', 'clients', ...args], stores.env);
  const { code } = await command.waitForExit();
  const secret = /^sch_\S+$/m.exec(command.output)?.[0];
  if (code !== 0 || secret === undefined) throw new Error(`clients ${args.join(' ')} ended with ${code}`);
  return secret;
}

async function asAdmin(method: string, path: string, body?: unknown): Promise<Loot> {
  const loot = await api.send(bearer(admin), method, path, body);
  if (loot.status >= 300) throw new Error(`${method} ${path} was refused: ${loot.text}`);
  return loot;
}

beforeAll(async () => {
  stores = await createTestStores();
  [api, admin] = await Promise.all([
    besiege(stores, { filed: { role: 'viewer' } }),
    clientsCommand('create', 'ops', '--role', 'admin'),
  ]);
  for (const name of Object.keys(secrets) as (keyof typeof secrets)[]) {
    const role = name === 'operator' ? 'operator' : 'viewer';
    secrets[name] = (await asAdmin('POST', '/clients', { name, role })).body.secret as string;
    const { status } = await api.send(bearer(secrets[name]), 'GET', '/tasks');
    if (status !== 200) throw new Error(`the secret of ${name} opens nothing`);
  }
  await asAdmin('DELETE', '/clients/revoked');
  await asAdmin('PATCH', '/clients/expired', { expires_at: new Date(Date.now() - 1_000).toISOString() });
  await asAdmin('POST', '/clients/rotated/rotate', { overlap: 0 });
  await asAdmin('POST', '/clients/overlapping/rotate', { overlap: 3_600 });
});

describe('keys that are not the key', () => {
  it('open nothing: parts of right secrets, ended ones, and other spellings', async () => {
    const right = secrets.operator;
    const random = randomOf(right);
    const keys: Record<string, string> = {
      'wrong checksum': withOther(right, right.length - 1),
      'right checksum, wrong first character': forgeSecret(idOf(right), withOther(random, 0)),
      'right checksum, wrong last character': forgeSecret(idOf(right), withOther(random, random.length - 1)),
      'right id, another secret': forgeSecret(idOf(right), randomOf(makeSecret(randomBytes).text)),
      "another client's id, own secret": forgeSecret(idOf(admin), randomOf(secrets.viewer)),
      "own id, another client's secret": forgeSecret(idOf(secrets.viewer), randomOf(admin)),
      revoked: secrets.revoked,
      expired: secrets.expired,
      'ended by a rotation': secrets.rotated,
      'lower case': right.toLowerCase(),
      'upper case': right.toUpperCase(),
      'cut at the end': right.slice(0, -1),
      'cut at the beginning': right.slice(1),
      'the public id': idOf(right),
      'the beginning': right.slice(0, 13),
      twice: right + right,
      'two keys': `${right} ${right}`,
      'with a comma': `${right},`,
      quoted: `"${right}"`,
      'in base64': Buffer.from(right).toString('base64'),
      'percent-encoded': right.replace('_', '%5F'),
      '10 kB long': right + 'a'.repeat(10_000),
      '10 kB before it': 'a'.repeat(10_000) + right,
      'a file secret, cut': secretOfClient('filed').slice(0, -1),
      'a file secret, longer': `${secretOfClient('filed')}0`,
      'a file secret, upper case': secretOfClient('filed').toUpperCase(),
      'the name of a client': 'ops',
      null: 'null',
      prototype: '__proto__',
    };
    const answers = await Promise.all(
      Object.entries(keys).map(async ([what, key]) => {
        const { status, body } = await api.send(bearer(key), 'POST', '/queues/default/pause');
        return [what, status, body.code];
      }),
    );
    const expired = ['expired', 'ended by a rotation'];
    expect(answers).toEqual(
      Object.keys(keys).map((what) => [what, 401, expired.includes(what) ? 'secret_expired' : 'unauthenticated']),
    );
    expect((await api.send(bearer(secrets.overlapping), 'GET', '/tasks')).status).toBe(200);
    expect((await api.send(bearer(right), 'GET', '/queues')).status).toBe(200);
  });

  it('that are wrong in different ways get the same answer, so that nobody learns which ids exist', async () => {
    const { viewer, revoked } = secrets;
    const random = randomOf(makeSecret(randomBytes).text);
    const keys = [
      forgeSecret(idOf(viewer), random),
      forgeSecret('00000000', random),
      forgeSecret(idOf(admin), random),
      revoked,
    ];
    const answers = await Promise.all(keys.map((key) => api.send(bearer(key), 'GET', '/tasks')));
    const senses = answers.map(({ text }) => text.replaceAll(/[0-9a-f]{32}|date: .*/g, ''));
    expect(new Set(senses).size).toBe(1);
  });
});

describe('right keys in wrong places', () => {
  it('open nothing', async () => {
    const key = admin;
    const basic = Buffer.from(`ops:${key}`).toString('base64');
    const headers: Record<string, string>[] = [
      { authorization: `Basic ${basic}` },
      { authorization: `Basic ${key}` },
      { authorization: `Digest ${key}` },
      { authorization: `Token ${key}` },
      { authorization: `Bearer: ${key}` },
      { authorization: `Bearer=${key}` },
      { authorization: `Bearer\t${key}` },
      { authorization: `xBearer ${key}` },
      { authorization: `Basic x, Bearer ${key}` },
      { authorization: key },
      { cookie: `authorization=Bearer ${key}; token=${key}; key=${key}; session=${key}` },
      { 'x-api-key': key },
      { 'x-auth-token': key },
      { 'x-authorization': `Bearer ${key}` },
      { 'proxy-authorization': `Bearer ${key}` },
      { authentication: `Bearer ${key}` },
      { 'www-authenticate': `Bearer ${key}` },
      { forwarded: `for=127.0.0.1;authorization="Bearer ${key}"` },
    ];
    const names = ['access_token', 'token', 'key', 'api_key', 'authorization', 'Authorization'];
    const answers = await Promise.all([
      ...headers.map((given) => api.send(given, 'GET', '/clients')),
      ...names.map((name) => api.send(null, 'GET', `/clients?${name}=${encodeURIComponent(`Bearer ${key}`)}`)),
      ...names.map((name) => api.send(null, 'GET', `/clients?${name}=${key}`)),
      api.send(null, 'POST', '/clients', { name: 'mallory', role: 'admin', access_token: key, authorization: key }),
    ]);
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 401));
    expect(answers.filter(({ text }) => text.includes(key))).toEqual([]);
    expect((await asAdmin('GET', '/clients')).text).not.toContain('mallory');
  });
});

describe('keys as no client library sends them', () => {
  const ask = (...lines: string[]): Promise<Loot> =>
    api.sendRaw(['GET /clients HTTP/1.1', `Host: 127.0.0.1:${api.port}`, ...lines]);

  it('of several Authorization headers, the first one counts, so a second one gives nothing', async () => {
    const [small, wrong] = [secrets.viewer, makeSecret(randomBytes).text];
    const statuses = async (...keys: string[]) => (await ask(...keys.map(bearerLine))).status;
    expect(await statuses(admin)).toBe(200);
    expect(await statuses(small, admin)).toBe(403);
    expect(await statuses(wrong, admin)).toBe(401);
    expect((await ask('Authorization: Basic eDp5', bearerLine(admin))).status).toBe(401);
    expect((await ask('Authorization:', bearerLine(admin))).status).toBe(401);
    expect((await ask(`${bearerLine(small)}, Bearer ${admin}`)).status).toBe(401);
  });

  it('with NUL, line breaks, or in headers of other spellings, they open nothing', async () => {
    const lines = [
      `${bearerLine(admin)}\0`,
      `Authorization: Bearer \0${admin}`,
      `Authorization: Bearer\x00 ${admin}`,
      `Authorization: Bearer\r\n ${admin}`,
      `Authorization: Bearer\n${admin}`,
      `${bearerLine(admin.slice(0, 20))}\r${admin.slice(20)}`,
      `${bearerLine(admin.slice(0, 20))}\n${admin.slice(20)}`,
      `${bearerLine(admin)}\x7f`,
      `${bearerLine(admin)}\xa0`,
      `Authorization : Bearer ${admin}`,
      ` Authorization: Bearer ${admin}`,
      `Authorization\0: Bearer ${admin}`,
      `Authorization_: Bearer ${admin}`,
      `X: y\n${bearerLine(admin)}\0`,
      `\x0bAuthorization: Bearer ${admin}`,
      `Authorization: ${'a'.repeat(20_000)} ${admin}`,
    ];
    const answers = await Promise.all(lines.map((line) => ask(line)));
    const opened = lines.filter((_, i) => ![400, 401, 431].includes(answers[i]?.status ?? 0));
    expect(opened.map((line) => JSON.stringify(line.replaceAll(admin, 'KEY').slice(0, 60)))).toEqual([]);
    expect(answers.filter(({ text }) => text.includes(randomOf(admin)))).toEqual([]);
    expect((await ask(`AUTHORIZATION:   bearer  ${admin}  `)).status).toBe(200);
  });
});
