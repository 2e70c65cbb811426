import { beforeAll, describe, expect, it } from 'vitest';
import { createTestStores } from '../harness/stores.ts';
import { bearerLine, besiege, secretOfClient, sense, type BesiegedApi } from './besieged-api.ts';

/** Headers and paths that other servers, proxies and frameworks have believed. None may give more than without it. */
const CLIENTS = { owner: { role: 'admin' }, viewer: { role: 'viewer', queues: ['mine'] } } as const;

let api: BesiegedApi;
let taskId: string;
beforeAll(async () => {
  api = await besiege(await createTestStores(), CLIENTS);
  const task = { payload: 'payload-canary', queue: 'queue-canary', delay: 3_600 };
  taskId = (await api.send('owner', 'POST', '/tasks', task)).body.id as string;
});

/** Texts that only the owner may see. */
const CANARIES = ['payload-canary', 'queue-canary', '"owner"'];

/** Headers in the spellings that a server may take for each other. */
function spellings(name: string): string[] {
  const underscored = name.replaceAll('-', '_');
  return [name, name.toUpperCase(), underscored, name.replaceAll('-', '.'), `${name}_`, `HTTP_${underscored}`];
}

const FORGED: readonly (readonly [name: string, ...values: string[]])[] = [
  ['X-Forwarded-For', '127.0.0.1', '::1', '127.0.0.1, 127.0.0.1'],
  ['X-Forwarded-Host', 'localhost', '127.0.0.1'],
  ['X-Forwarded-Proto', 'https'],
  ['X-Forwarded-Prefix', '/healthz'],
  ['X-Forwarded-User', 'owner'],
  ['X-Forwarded-Email', 'owner@example.org'],
  ['X-Forwarded-Groups', 'admin'],
  ['X-Forwarded-Access-Token', 'owner'],
  ['X-Forwarded-Uri', '/healthz'],
  ['X-Forwarded-Method', 'GET'],
  ['X-Auth-Request-User', 'owner'],
  ['X-Auth-Request-Redirect', '/healthz'],
  ['X-Original-URL', '/healthz', '/clients'],
  ['X-Original-URI', '/healthz'],
  ['X-Rewrite-URL', '/healthz', '/clients'],
  ['X-Original-Method', 'GET'],
  ['X-HTTP-Method-Override', 'GET', 'POST', 'DELETE'],
  ['X-HTTP-Method', 'DELETE'],
  ['X-Method-Override', 'POST'],
  ['X-Remote-User', 'owner'],
  ['Remote-User', 'owner'],
  ['X-WebAuth-User', 'owner'],
  ['X-Client', 'owner'],
  ['X-Client-IP', '127.0.0.1'],
  ['X-Real-IP', '127.0.0.1'],
  ['X-SSL-Client-Verify', 'SUCCESS'],
  ['X-Middleware-Subrequest', 'middleware:middleware:middleware:middleware:middleware'],
  ['X-Host', 'localhost'],
  ['Forwarded', 'for=127.0.0.1;host=localhost;proto=https'],
  ['Scope', 'admin'],
  ['Connection', 'close, Authorization'],
];

const raw = (line: string, ...more: string[]) =>
  api.sendRaw([`${line} HTTP/1.1`, `Host: 127.0.0.1:${api.port}`, ...more]);

describe('forged headers', () => {
  it.each([
    ['GET /clients', 401, []],
    ['GET /healthz', 200, []],
    ['POST /queues/queue-canary/pause', 401, []],
    ['GET /clients', 403, ['viewer']],
    ['POST /queues/mine/pause', 403, ['viewer']],
    ['GET /queues/mine/pause', 405, ['viewer']],
    ['GET /tasks', 200, ['viewer']],
  ] as const)('%s is answered by %s with and without them %s', async (line, status, keys) => {
    const authorization = keys.map((name) => bearerLine(secretOfClient(name)));
    const before = await api.tables();
    const without = await raw(line, ...authorization);
    expect(without.status).toBe(status);
    const headers = FORGED.flatMap(([name, ...values]) =>
      spellings(name).flatMap((spelling) => values.map((value) => `${spelling}: ${value}`)),
    );
    // Each twice, too: a proxy may check one and the server believe the other.
    const attacks = headers.flatMap((header) => [[header], [`${header.split(':')[0]}: x`, header]]);
    const differing: unknown[] = [];
    for (let i = 0; i < attacks.length; i += 50) {
      const answers = attacks.slice(i, i + 50).map(async (attack) => {
        const given = await raw(line, ...attack, ...authorization);
        if (JSON.stringify(sense(given)) !== JSON.stringify(sense(without))) differing.push([attack, given.text]);
      });
      await Promise.all(answers);
    }
    expect(differing).toEqual([]);
    expect(await api.tables()).toEqual(before);
  });
});

describe('other spellings of a path', () => {
  const paths = (): string[] => {
    const absolute = `http://127.0.0.1:${api.port}`;
    const tricks = (path: string): string[] => [
      `/${path}`,
      `//${path.slice(1)}`,
      `/.${path}`,
      `${path}/`,
      `${path}/.`,
      `${path};x`,
      `${path};.json`,
      `${path}.json`,
      `${path}?`,
      `${path}#/healthz`,
      `${path}%20`,
      `${path}%00`,
      `${path}%2f`,
      `${path}%3f`,
      path.toUpperCase(),
      `/healthz/..${path}`,
      `/healthz/%2e%2e${path}`,
      `/healthz/..%2f${path.slice(1)}`,
      `/healthz/..;${path}`,
      `/healthz\\..\\${path.slice(1)}`,
      `/docs/assets/../..${path}`,
      `/docs/assets/%2e%2e/%2e%2e${path}`,
      `/docs/assets/..%2f..%2f${path.slice(1)}`,
      `/healthz#${path}`,
      `/healthz;${path}`,
      `/healthz%23${path}`,
      `/%2e%2e${path}`,
      `\\${path.slice(1)}`,
      `/%2f${path.slice(1)}`,
      `/%${path.charCodeAt(1).toString(16)}${path.slice(2)}`,
      absolute + path,
      `http://localhost${path}`,
      `http://evil.example${path}`,
      `https://evil.example:443${path}`,
      `http://owner:x@evil.example${path}`,
      `http://evil.example/healthz/..${path}`,
      `ftp://evil.example${path}`,
      `//evil.example${path}`,
    ];
    return [
      ...['/tasks', '/clients', '/queues', '/audit', '/metrics', `/tasks/${taskId}`].flatMap(tricks),
      '/docs/assets/..%2f..%2fpackage.json',
      '/docs/assets/%2fetc%2fpasswd',
      '/../../etc/passwd',
      '*',
      '/',
    ];
  };

  it.each([
    ['without a key', []],
    ['with a viewer’s key', ['viewer']],
  ] as const)('%s show nothing', async (_, keys) => {
    expect((await raw('GET /tasks', bearerLine(secretOfClient('owner')))).text).toContain('queue-canary');
    const authorization = keys.map((name) => bearerLine(secretOfClient(name)));
    const shown: string[] = [];
    for (const path of paths()) {
      const { status, text, body } = await raw(`GET ${path}`, ...authorization);
      // The answer repeats the path, which is no news to who sent it.
      const news = text.replaceAll(path, '');
      const leaks = CANARIES.some((canary) => news.includes(canary)) || news.includes('root:');
      // Without a key there is nothing but public pages; a viewer sees empty lists of their own.
      const isPublic = body?.status === 'ok' || text.includes('text/html');
      const isOwn = keys.length > 0 && Array.isArray(body?.items) && body.items.length === 0;
      if (leaks || status >= 500 || (status < 400 && !isPublic && !isOwn)) shown.push(`${status} ${path} ${text}`);
    }
    expect(shown).toEqual([]);
  });

  it.each([
    ['without a key', []],
    ['with a viewer’s key', ['viewer']],
  ] as const)('%s change nothing', async (_, keys) => {
    const authorization = keys.map((name) => bearerLine(secretOfClient(name)));
    const before = await api.tables();
    const targets = ['/queues/queue-canary/pause', `/tasks/${taskId}/cancel`, '/tasks', '/clients/owner'];
    const spelled = targets.flatMap((target) => [
      target.toUpperCase(),
      `/${target}`,
      `${target}/`,
      `/healthz/..${target}`,
      `/healthz/%2e%2e${target}`,
      `http://evil.example${target}`,
      `${target}?_method=GET`,
      `${target};x`,
    ]);
    for (const path of spelled) {
      for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'post', 'PROPFIND', 'TRACE', 'CONNECT', 'FOO']) {
        const { status } = await raw(`${method} ${path}`, 'Content-Length: 0', ...authorization);
        // A connection that is just closed, as for CONNECT, has the status 0.
        const refused = status === 0 || (status >= 400 && status < 500);
        expect([method, path, refused ? 'refused' : status]).toEqual([method, path, 'refused']);
      }
    }
    expect(await api.tables()).toEqual(before);
  });
});

describe('requests that are two at once', () => {
  it('a second request inside the body of the first does not get the key of the first', async () => {
    const hidden = `GET /clients HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`;
    const chunk = `0\r\n\r\n${hidden}`;
    const first = [`POST /tasks HTTP/1.1`, 'Host: 127.0.0.1', bearerLine(secretOfClient('owner'))];
    const lengths = [
      ['Content-Length: 0', `Content-Length: ${hidden.length}`],
      [`Content-Length: ${chunk.length}`, 'Transfer-Encoding: chunked'],
      ['Transfer-Encoding: chunked', `Content-Length: ${chunk.length}`],
      ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'],
      ['Transfer-Encoding: xchunked'],
      ['Transfer-Encoding : chunked'],
      ['Content-Length: +0'],
      ['Content-Length: 0x0'],
    ];
    for (const lines of lengths) {
      const { text } = await api.sendRaw([...first, 'Content-Type: application/json', ...lines], { body: chunk });
      expect([lines, text.includes('"items"')]).toEqual([lines, false]);
    }
  });

  it('a doubled Host changes nothing', async () => {
    for (const hosts of [
      ['Host: localhost', 'Host: evil.example'],
      ['Host: evil.example', 'Host: localhost'],
      ['Host: '],
      ['Host: evil.example'],
    ]) {
      const { status } = await api.sendRaw(['GET /tasks HTTP/1.1', ...hosts]);
      expect([400, 401, 421]).toContain(status);
      const viewed = await api.sendRaw(['GET /clients HTTP/1.1', ...hosts, bearerLine(secretOfClient('viewer'))]);
      expect([400, 403]).toContain(viewed.status);
    }
  });
});
