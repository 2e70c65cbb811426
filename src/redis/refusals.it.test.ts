import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { withRedis } from '../../scripts/stores/redis.ts';
import { startRedis } from '../../test/harness/private-stores.ts';
import { startProcess, untilTrue, type TestProcess } from '../../test/harness/processes.ts';
import { createRedisUser, documentedRules, setRedisUser } from '../../test/harness/redis-user.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import { startSystem } from '../../test/harness/system.ts';

const server = await startRedis();
const stores = await createTestStores({ redisUrl: server.url });
const { least } = documentedRules(stores.redisPrefix);
const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

interface Ready {
  readonly httpStatus: number;
  readonly status: string;
  readonly problems: string[];
}

async function startApi(env: Record<string, string>): Promise<{ api: TestProcess; baseUrl: string }> {
  const api = startProcess(['node', 'src/main.ts', 'api'], { ...stores.env, ...env });
  const { port } = await api.waitForLine(({ msg }) => msg === 'api listening');
  return { api, baseUrl: `http://127.0.0.1:${String(port)}` };
}

async function readiness(baseUrl: string): Promise<Ready> {
  const response = await fetch(`${baseUrl}/readyz`);
  return { httpStatus: response.status, ...((await response.json()) as Omit<Ready, 'httpStatus'>) };
}

async function redisUp(baseUrl: string): Promise<string | undefined> {
  const text = await (await fetch(`${baseUrl}/metrics`)).text();
  return /^scheduler_store_up\{store="redis"\} (\d)$/m.exec(text)?.[1];
}

const errorsOf = ({ lines }: TestProcess): string[] =>
  lines.filter(({ level }) => level === 'error').map(({ msg, reason }) => String(reason ?? msg));

describe('a user that lacks a right', () => {
  it.each([
    ['a command', least.replace('+bzpopmin', ''), 'BZPOPMIN', '+bzpopmin'],
    ['a command of a script', least.replace('+hincrby', ''), 'HINCRBY', '+hincrby'],
    ['the scripts', least.replace('+evalsha', ''), 'EVAL and EVALSHA', '+eval +evalsha'],
    ['the keys with a brace', `resetkeys ~${stores.redisPrefix}* &* +@all -@dangerous`, 'keys such as {', '~{'],
    ['channels', `~* resetchannels +@all -@dangerous`, 'PUBLISH on the channel', '+publish &'],
  ])(
    'for %s is reported by log, readiness and metrics, until the right is granted',
    async (_name, rule, what, lacking) => {
      const user = await createRedisUser(server, rule);
      const { api, baseUrl } = await startApi({ REDIS_URL: user.url });
      const line = await api.waitForLine(({ level }) => level === 'error');
      expect(line['msg']).toContain(`the Redis user "${user.name}" may not use ${what}`);
      expect(line['rule']).toContain(`ACL SETUSER ${user.name} ${lacking}`);
      // An API that Redis refuses from its start is not ready, so that it does not replace a working one.
      expect(await readiness(baseUrl)).toEqual({
        httpStatus: 503,
        status: 'starting',
        problems: [`redis: ${String(line['msg'])}`],
      });
      await untilTrue(async () => (await redisUp(baseUrl)) === '0');

      await setRedisUser(server, user.name, String(line['rule']).split(' ').slice(3).join(' '));
      await untilTrue(async () => (await readiness(baseUrl)).httpStatus === 200);
      await untilTrue(async () => (await redisUp(baseUrl)) === '1');
      expect((await readiness(baseUrl)).problems).toEqual([]);
      expect(errorsOf(api)).toHaveLength(1);
    },
  );

  it('that is revoked later leaves the API ready, and requests that succeeded are answered as such', async () => {
    const user = await createRedisUser(server, least);
    const system = await startSystem({ ...stores, env: { ...stores.env, REDIS_URL: user.url } });
    const [worker, reclaimer] = await Promise.all([system.startWorker(), system.startReclaimer()]);
    const id = await system.submit({ payload: null, execution_time: 60 });
    await untilTrue(async () => (await system.get(`/tasks/${id}`))['status'] === 'PROCESSING');

    await setRedisUser(server, user.name, 'resetchannels');
    // The reclaimer checks the rights with each pass.
    const line = await reclaimer.waitForLine(({ level }) => level === 'error');
    expect(line['msg']).toContain('SUBSCRIBE on the channel');
    expect((await system.post(`/tasks/${id}/cancel`, undefined)).status).toBe(202);
    await untilTrue(async () => (await system.get(`/tasks/${id}`))['status'] === 'CANCELLED');
    // Redis closes the connection of a subscriber that loses the right to the channel.
    await worker.waitForLine(({ msg }) => String(msg).includes('Redis refuses to subscribe'));
    // The API checks its rights only after the refusal; until then it knows of no problem.
    await untilTrue(async () => (await redisUp(system.baseUrl)) === '0');
    const { httpStatus, problems } = await readiness(system.baseUrl);
    expect([httpStatus, problems]).toEqual([200, [expect.stringContaining('PUBLISH on the channel')]]);
  });
});

describe('a Redis that refuses the connection', () => {
  const withUrl = (change: (url: URL) => void): string => {
    const url = new URL(server.url);
    change(url);
    return url.href;
  };

  it.each([
    ['a wrong password', () => withUrl((url) => (url.password = 'wrong')), 'WRONGPASS'],
    ['no password', () => withUrl((url) => (url.password = '')), 'NOAUTH'],
    ['a database that it does not have', () => withUrl((url) => (url.pathname = '/99')), 'DB index is out of range'],
  ])('for %s is quoted by log and readiness, and a new API does not become ready', async (_name, url, text) => {
    const { api, baseUrl } = await startApi({ REDIS_URL: url(), REDIS_PREFIX: 'refused' });
    await untilTrue(() => errorsOf(api).some((error) => error.includes(text)));
    expect(await readiness(baseUrl)).toMatchObject({ httpStatus: 503, problems: [expect.stringContaining(text)] });
    expect(await redisUp(baseUrl)).toBe('0');
    expect(api.output).not.toContain("Stream isn't writeable");
    // No keys were written to another database.
    await withRedis(server.url, async (redis) => expect(await redis.keys('*refused*')).toEqual([]));
  });

  it('before any command (protected mode) is quoted', async () => {
    const text = 'DENIED Redis is running in protected mode because protected mode is enabled';
    const refusing = createServer((socket) => socket.on('error', () => {}).end(`-${text}.\r\n`)).listen(0, '127.0.0.1');
    closers.push(() => refusing.close());
    await once(refusing, 'listening');
    const { api, baseUrl } = await startApi({
      REDIS_URL: `redis://127.0.0.1:${(refusing.address() as AddressInfo).port}`,
    });
    await untilTrue(() => errorsOf(api).some((error) => error.startsWith(text)));
    expect((await readiness(baseUrl)).problems).toEqual([`redis: ${text}.`]);
    expect(api.output).not.toContain("Stream isn't writeable");
  });

  it('for too many clients is quoted, and is an ordinary outage: the API is ready', async () => {
    const small = await startRedis();
    await withRedis(small.url, async (redis) => {
      await redis.config('SET', 'maxclients', '1');
      const { api, baseUrl } = await startApi({ REDIS_URL: small.url });
      await untilTrue(() => errorsOf(api).some((error) => error.includes('max number of clients reached')));
      expect(await readiness(baseUrl)).toMatchObject({
        httpStatus: 200,
        problems: ['redis: ERR max number of clients reached'],
      });
      expect(api.output).not.toContain("Stream isn't writeable");
      await redis.config('SET', 'maxclients', '100');
      await untilTrue(async () => (await readiness(baseUrl)).problems.length === 0);
    });
  });

  it('while it loads its data is quoted, and is an ordinary outage', async () => {
    const loading = createServer((socket) =>
      socket
        .on('error', () => {})
        .on('data', () => socket.write('-LOADING Redis is loading the dataset in memory\r\n'.repeat(3))),
    ).listen(0, '127.0.0.1');
    closers.push(() => loading.close());
    await once(loading, 'listening');
    const { baseUrl } = await startApi({ REDIS_URL: `redis://127.0.0.1:${(loading.address() as AddressInfo).port}` });
    await untilTrue(async () => (await readiness(baseUrl)).problems.some((problem) => problem.includes('LOADING')));
    expect((await readiness(baseUrl)).httpStatus).toBe(200);
  });
});
