import { once } from 'node:events';
import { Agent, get, type IncomingMessage } from 'node:http';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { text as textOf } from 'node:stream/consumers';
import { beforeAll, describe, expect, it } from 'vitest';
import { atEndOfFile } from '../harness/end-of-file.ts';
import { startProcess, untilTrue } from '../harness/processes.ts';
import { createTestStores } from '../harness/stores.ts';
import { besiege, type BesiegedApi } from './besieged-api.ts';

/**
 * Clients that may use `http.request` try to reach servers inside the network. Three real workers serve a queue each:
 * `anywhere` may send requests to all public servers, `listed` only to one, and `inside` to two on this machine.
 */
const CLIENTS = {
  caller: { actions: ['*', 'http.request'] },
  plain: { actions: ['*'] },
  narrow: { actions: ['simulate', 'http', 'http.request.*', 'request'] },
} as const;

/** The address of a server that is allowed. The one that must not be reached listens on all others. */
const ALLOWED = '127.0.0.2';

let api: BesiegedApi;
let port: number;
/** Connections that have reached the server that is not allowed. */
const reached: string[] = [];
let allowedPort: number;
/** Paths of the requests to the server that is allowed. It redirects all of them to the other one. */
const allowedPaths: string[] = [];

/** Starts a server. It calls `onData` with an empty text for each connection, and then with what arrives. */
async function listen(host: string, onData: (text: string, socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    onData('', socket);
    socket.on('data', (data) => onData(data.toString('latin1'), socket));
  });
  server.listen(0, host);
  await once(server, 'listening');
  atEndOfFile(async () => void server.close());
  return (server.address() as AddressInfo).port;
}

beforeAll(async () => {
  // A connection is enough: it tells the attacker which ports are open.
  const trap = (text: string, socket: Socket): void => {
    if (text === '') reached.push(`${socket.remoteAddress} to ${socket.localAddress}`);
    else socket.end('HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret');
  };
  // Both families, or IPv4 alone where there is no IPv6.
  port = await listen('::', trap).catch(() => listen('0.0.0.0', trap));
  allowedPort = await listen(ALLOWED, (text, socket) => {
    if (text === '') return;
    allowedPaths.push(text.split(' ')[1] ?? '');
    socket.end(`HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:${port}/\r\nContent-Length: 0\r\n\r\n`);
  });
  const stores = await createTestStores();
  api = await besiege(stores, CLIENTS);
  const workers = [
    { WORKER_QUEUES: 'anywhere', HTTP_TARGETS: '*' },
    { WORKER_QUEUES: 'listed', HTTP_TARGETS: 'api.example.org' },
    {
      WORKER_QUEUES: 'inside',
      HTTP_TARGETS: `localhost,127.0.0.1,[::1],${ALLOWED}`,
      HTTP_ALLOWED_NETWORKS: ALLOWED,
      SIMULATE_UNKNOWN_ACTIONS: 'false',
    },
  ].map((env) => startProcess(['node', 'src/main.ts', 'worker'], { ...stores.env, ...env }));
  await Promise.all(workers.map((worker) => worker.waitForLine(({ msg }) => msg === 'worker claims')));
});

/** Not every resolver knows these names. Where one does, they lead to this machine. */
const NAMES_OF_SOME_RESOLVERS = ['localhost.', 'LocalHost.'];

/** Addresses that lead to this machine, to its network, or to a cloud's credentials, in all spellings. */
const HOSTS = [
  '127.0.0.1 127.1 127.0.1 127.255.255.254 0.0.0.0 0 0.1.2.3',
  // Decimal, octal, hexadecimal, mixed, with leading zeros, and with other digits of Unicode.
  '2130706433 017700000001 0x7f000001 0x7f.1 0177.0.0.1 0x7f.0x0.0x0.0x1 127.0x0.0.01',
  '①②⑦.⓪.⓪.① 127。0。0。1 １２７.0.0.1 %31%32%37.0.0.1 127.0.0.1. 0x7F.1.',
  'localhost LOCALHOST LocalHost ｌocalhost loc%61lhost lo%C2%ADcalhost',
  '[::1] [0:0:0:0:0:0:0:1] [::] [0000::0001] [::127.0.0.1] [::7f00:1]',
  // IPv4 inside IPv6: mapped, translated, NAT64, 6to4, Teredo.
  '[::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:127.0.0.1] [::ffff:0:127.0.0.1]',
  '[64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b:1::7f00:1] [2002:7f00:1::] [2001::80ff:fffe]',
  '10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 [fc00::1] [fd12:3456::1]',
  '169.254.1.1 [fe80::1] [fec0::1] 224.0.0.1 255.255.255.255 [ff02::1] 198.18.0.1 240.0.0.1',
  '192.0.2.1 203.0.113.9 [2001:db8::1] 192.0.0.192',
  // Metadata of clouds.
  '169.254.169.254 2852039166 0xa9fea9fe 0251.0376.0251.0376 169.254.43518 [::ffff:169.254.169.254]',
  '169.254.170.2 100.100.100.200 168.63.129.16 [fd00:ec2::254] [fe80::a9fe:a9fe] [fd20:ce::254]',
].flatMap((line) => line.split(' '));

const urls = (): string[] => [
  ...HOSTS.map((host) => `http://${host}:${port}/`),
  // What looks like the host is user, password, path or fragment.
  ...['api.example.org@127.0.0.1', 'api.example.org:80@127.0.0.1', 'a:b@api.example.org@127.0.0.1'].map(
    (host) => `http://${host}:${port}/`,
  ),
  `http://127.0.0.1:${port}\\@api.example.org/`,
  `http://127.0.0.1:${port}/@api.example.org/`,
  `http://127.0.0.1:${port}#@api.example.org/`,
  `http://127.0.0.1:${port}?api.example.org`,
  `http:\\\\127.0.0.1:${port}/`,
  `http:127.0.0.1:${port}/`,
  `http:/127.0.0.1:${port}/`,
  `http:////127.0.0.1:${port}/`,
  ` http://127.0.0.1:${port}/`,
  `ht\ntp://127.0.\t0.1:${port}/`,
  `HTTP://127.0.0.1:${port}/`,
  `https://127.0.0.1:${port}/`,
  `https://localhost:${port}/`,
];

interface Ended {
  readonly url: string;
  readonly status: string;
  readonly code: string | null;
}

async function run(queue: string, given: readonly string[]): Promise<Ended[]> {
  const tasks = given.map((url) => ({ action: 'http.request', queue, payload: { url }, max_retries: 0, timeout: 20 }));
  const { status, body } = await api.send('caller', 'POST', '/tasks/batch', { tasks });
  expect([status, body.errors]).toEqual([200, undefined]);
  const ids: string[] = body.tasks.map(({ id }: { id: string }) => id);
  const rows = await untilTrue(
    async () => {
      const found = await api.rows<{ id: string; status: string }>('SELECT id, status FROM tasks WHERE id = ANY ($1)', [
        ids,
      ]);
      return found.every((row) => ['FAILED', 'COMPLETED', 'CANCELLED'].includes(row.status)) && found;
    },
    { timeoutMs: 45_000 },
  );
  const errors = await api.rows<{ task_id: string; code: string | null }>(
    `SELECT task_id, error::jsonb ->> 'code' AS code FROM execution_logs WHERE task_id = ANY ($1)`,
    [ids],
  );
  return ids.map((id, i) => ({
    url: given[i] as string,
    status: rows.find((row) => row.id === id)?.status ?? 'gone',
    code: errors.find((row) => row.task_id === id)?.code ?? null,
  }));
}

/**
 * Asks the server that must not be reached, over one connection. `fetch` opens a second one if the first one is slow, and
 * it might be counted later, as if a worker had opened it.
 */
async function askOnce(host: string): Promise<string> {
  const { hostname } = new URL(`http://${host}`);
  const request = get({ host: hostname, port, agent: new Agent({ autoSelectFamily: false }) });
  const [answer] = (await once(request, 'response')) as [IncomingMessage];
  return textOf(answer);
}

describe('targets inside the network', () => {
  it('are there: without a guard they are reached', async () => {
    for (const host of ['127.0.0.1', 'localhost', '2130706433']) expect(await askOnce(host)).toBe('secret');
    expect(reached.length).toBe(3);
    reached.length = 0;
  });

  it.each([
    ['anywhere', 'address_refused'],
    ['listed', 'target_refused'],
  ])('are not reached by a worker that may send requests %s', async (queue, code) => {
    const ended = await run(queue, urls());
    expect(ended.length).toBeGreaterThanOrEqual(62);
    expect(ended.filter((task) => task.status !== 'FAILED' || task.code !== code)).toEqual([]);
    const named = await run(
      queue,
      NAMES_OF_SOME_RESOLVERS.map((host) => `http://${host}:${port}/`),
    );
    for (const task of named)
      expect([code, code === 'target_refused' ? code : 'http_unreachable']).toContain(task.code);
    expect(reached).toEqual([]);
  });

  it('are not reached by names that are allowed, by redirects, or beside the one address that is allowed', async () => {
    const refused = ['localhost', 'LOCALHOST', '127.0.0.1', '[::1]', '127.1', '2130706433'];
    const ended = await run('inside', [
      ...refused.map((host) => `http://${host}:${port}/`),
      `http://127.0.0.3:${port}/`,
      `http://${ALLOWED}:${allowedPort}/redirected`,
    ]);
    expect(ended.map(({ code }) => code)).toEqual([
      ...refused.map(() => 'address_refused'),
      'target_refused',
      'http_status_302',
    ]);
    expect(allowedPaths).toContain('/redirected');
    expect(reached).toEqual([]);
  });

  it('of other schemes are refused when they are submitted', async () => {
    const others = ['file:///etc/passwd', 'ftp://127.0.0.1/', 'gopher://127.0.0.1:6379/_x', 'data:,x', 'javascript:1'];
    for (const url of [
      ...others,
      '//127.0.0.1/',
      '/etc/passwd',
      '127.0.0.1',
      'http://',
      'http://[::1',
      'http://[::1%25lo]/',
    ])
      expect([
        url,
        (await api.send('caller', 'POST', '/tasks', { action: 'http.request', queue: 'anywhere', payload: { url } }))
          .status,
      ]).toEqual([url, 422]);
  });
});

/** Actions that something may take for `http.request`. */
const SPELLINGS = [
  'http.request',
  'HTTP.request',
  'http.Request',
  ' http.request',
  'http.request ',
  'http.request\t',
  'http.request\n',
  'http.request\u0000',
  'http．request',
  'http․request',
  'http.request\u200b',
  'ｈttp.request',
  'http.request.',
  '.http.request',
  'http..request',
  'http/request',
  'http_request',
  'httpRequest',
  '*',
  'http.*',
  'http%2erequest',
  'http\\u002erequest',
  'constructor',
  '__proto__',
  'simulate,http.request',
];

describe('a client without the grant', () => {
  it.each(['plain', 'narrow'] as const)('cannot submit http.request by any spelling: %s', async (name) => {
    const target = (i: number | string): string => `http://${ALLOWED}:${allowedPort}/ungranted-${name}-${i}`;
    const bodies = [
      ...SPELLINGS.map((action, i) => ({ action, payload: { url: target(`action-${i}`) } })),
      ...SPELLINGS.map((action, i) => ({ payload: { action, url: target(`payload-${i}`) } })),
      { action: 'simulate', payload: { action: 'http.request', url: target('both') } },
      { payload: { Action: 'http.request', url: target('case') } },
      { payload: { payload: { action: 'http.request', url: target('nested') } } },
      { payload: [{ action: 'http.request', url: target('array') }] },
      { payload: { action: ['http.request'], url: target('list') } },
    ].map((task) => JSON.stringify({ queue: 'inside', max_retries: 0, ...task }));
    const payload = (members: string, i: number): string => `{${members},"url":"${target(`text-${i}`)}"}`;
    const texts = [
      `{"queue":"inside","action":"simulate","action":"http.request","payload":${payload('"a":1', 0)}}`,
      `{"queue":"inside","action":"http.request","action":"simulate","payload":${payload('"a":1', 1)}}`,
      `{"queue":"inside","payload":${payload('"action":"simulate","action":"http.request"', 2)}}`,
      `{"queue":"inside","payload":${payload('"action":"http.request","action":"simulate"', 3)}}`,
      `{"queue":"inside","payload":${payload(String.raw`"\u0061ction":"http\u002erequest"`, 4)}}`,
      `{"queue":"inside","\\u0061ction":"\\u0068ttp.request","payload":${payload('"a":1', 5)}}`,
      `{"queue":"inside","payload":1,"payload":${payload('"action":"http.request"', 6)}}`,
      `{"queue":"inside","payload":${payload('"action":"http.request"', 7)},"payload":{"action":"http.request","url":"${target('x')}"}}`,
    ];
    const stored: string[] = [];
    for (const body of [...bodies, ...texts]) {
      for (const [path, content] of [
        ['/tasks', body],
        ['/tasks/batch', `{"tasks":[${body}]}`],
      ] as const) {
        const { status, body: given } = await api.send(name, 'POST', path, content);
        expect(status).toBeLessThan(500);
        if (status === 200) stored.push(...(given.tasks ?? [given]).map(({ id }: { id: string }) => id));
      }
    }
    const actions = await api.rows<{ action: string | null }>('SELECT action FROM submissions WHERE id = ANY ($1)', [
      stored,
    ]);
    expect(actions.filter(({ action }) => action === 'http.request')).toEqual([]);
    // What was stored has run, and has sent nothing.
    await untilTrue(async () => {
      const left = await api.rows<{ count: number }>(
        'SELECT count(*)::int AS count FROM unfinished WHERE id = ANY ($1)',
        [stored],
      );
      return left[0]?.count === 0;
    });
    expect(allowedPaths.filter((path) => path.includes(`ungranted-${name}`))).toEqual([]);
  });
});
