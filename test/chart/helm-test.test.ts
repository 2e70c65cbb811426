import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { mount } from './mounted.ts';
import { type Loose, only, render } from './render.ts';

const OPEN = ['auth.mode="open"'];
const WITH_CLIENT = ['auth.clients={"tester":{"existingSecret":"key","role":"submitter"}}', 'helmTest.client="tester"'];

describe('helm test', () => {
  const pod = only(render({ set: OPEN }), 'Pod');

  it('submits a task through the Service', () => {
    expect(pod.metadata.annotations).toMatchObject({
      'helm.sh/hook': 'test',
      // Only this policy removes the pod, because an uninstallation does not delete hooks.
      'helm.sh/hook-delete-policy': 'before-hook-creation,hook-succeeded,hook-failed',
      'helm.sh/hook-output-log-policy': 'hook-failed',
    });
    expect(pod.spec.containers[0].args.slice(1)).toEqual(['http://r-scheduler-api:80', '270', 'default']);
  });

  it('names the client whose secret it sends, or says that there is none', () => {
    const args = (...set: readonly string[]): string[] => only(render({ set }), 'Pod').spec.containers[0].args.slice(3);
    expect(args()).toEqual(['default', 'no-client']);
    expect(args(WITH_CLIENT[0]!)).toEqual(['default', 'no-client']);
    expect(args(...WITH_CLIENT)).toEqual(['default', '/etc/scheduler/client/secret']);
  });

  it('mounts the secret of its client, and no other', () => {
    const objects = render({
      set: [
        'auth.clients={"tester":{"existingSecret":"key","secretKey":"now","nextSecretKey":"next","role":"submitter"},"b":{"existingSecret":"other","role":"admin"}}',
        WITH_CLIENT[1]!,
      ],
    });
    const { spec } = only(objects, 'Pod');
    expect(spec.containers[0].volumeMounts).toContainEqual({
      name: 'client',
      mountPath: '/etc/scheduler/client',
      readOnly: true,
    });
    const sources = spec.volumes.find(({ name }: Loose) => name === 'client').projected.sources;
    expect(sources).toEqual([{ secret: { name: 'key', items: [{ key: 'now', path: 'secret' }] } }]);
    expect(JSON.stringify(spec)).not.toMatch(/"other"|CLIENTS_DIR/);
    expect(pod.spec.volumes).toEqual([{ name: 'tmp', emptyDir: {} }]);
  });

  interface Answer {
    readonly status?: number;
    readonly body?: object;
    /** Whether the connection is closed without an answer. */
    readonly cut?: boolean;
  }
  const shows = (status: string): Answer => ({ body: { id: '1', status } });
  const CUT: Answer = { cut: true };
  const AWAY: Answer = { status: 503, body: { code: 'store_unavailable' } };

  interface Run {
    readonly code: number | null;
    readonly errors: string;
    readonly said: string;
    readonly requests: readonly string[];
    readonly keys: ReadonlySet<string>;
    readonly authorizations: ReadonlySet<string | undefined>;
    readonly tasks: readonly Record<string, unknown>[];
  }

  /** Runs the pod's program against an API that gives these answers in order and then repeats the last one. */
  const run = async (
    answers: readonly Answer[],
    { seconds = '20', more = [] as string[], listensAfterMs = 0 } = {},
  ): Promise<Run> => {
    const left = [...answers];
    const requests: string[] = [];
    const keys = new Set<string>();
    const authorizations = new Set<string | undefined>();
    const tasks: Record<string, unknown>[] = [];
    const answerTo = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
      requests.push(`${request.method} ${request.url}`);
      authorizations.add(request.headers.authorization);
      const body = await text(request);
      if (request.method === 'POST') {
        keys.add(String(request.headers['idempotency-key']));
        tasks.push(JSON.parse(body));
      }
      const answer = (left.length > 1 ? left.shift() : left[0])!;
      if (answer.cut === true) request.socket.destroy();
      else response.writeHead(answer.status ?? 200).end(JSON.stringify(answer.body));
    };
    const api = createServer((request, response) => void answerTo(request, response));
    const port = await freePort();
    const listening = delay(listensAfterMs).then(() => once(api.listen(port, '127.0.0.1'), 'listening'));
    if (listensAfterMs === 0) await listening;
    const { command, args } = pod.spec.containers[0];
    const child = spawn(command[0], [...command.slice(1), args[0], `http://127.0.0.1:${port}`, seconds, ...more], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let errors = '';
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (said += chunk));
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (errors += chunk));
    const [code] = (await once(child, 'close')) as [number | null];
    await listening;
    api.close();
    return { code, errors, said, requests, keys, authorizations, tasks };
  };

  it('succeeds only when its task is COMPLETED', async () => {
    const good = await run([shows('PENDING'), shows('PENDING'), shows('PROCESSING'), shows('COMPLETED')]);
    expect(good).toMatchObject({ code: 0, errors: '' });
    expect(good.requests).toEqual(['POST /tasks', 'GET /tasks/1', 'GET /tasks/1', 'GET /tasks/1']);
    expect(await run([shows('PENDING'), shows('FAILED')])).toMatchObject({
      code: 1,
      errors: expect.stringContaining('the task ended FAILED'),
    });
    expect(await run([shows('PROCESSING')], { seconds: '1' })).toMatchObject({
      code: 1,
      errors: expect.stringContaining('not COMPLETED within 1 s: the task is PROCESSING'),
    });
  });

  it('waits while nothing listens yet', async () => {
    const { code, errors, tasks } = await run([shows('COMPLETED')], { listensAfterMs: 1_500 });
    expect({ code, errors, tasks: tasks.length }).toEqual({ code: 0, errors: '', tasks: 1 });
  });

  it('repeats the request for the same task after a closed connection and after a 503', async () => {
    const { code, errors, keys, requests } = await run([CUT, AWAY, shows('PENDING'), AWAY, CUT, shows('COMPLETED')]);
    expect({ code, errors }).toEqual({ code: 0, errors: '' });
    expect(requests.map((request) => request.split(' ')[0])).toEqual(['POST', 'POST', 'POST', 'GET', 'GET', 'GET']);
    expect(keys.size).toBe(1);
  });

  it('reports at the timeout what it waited for', async () => {
    const { code, errors } = await run([AWAY], { seconds: '1' });
    expect(code).toBe(1);
    expect(errors).toMatch(/not COMPLETED within 1 s: POST http:\S+ answered 503: .*store_unavailable/);
    const refused = await run([shows('COMPLETED')], { seconds: '1', listensAfterMs: 4_000 });
    expect(refused.errors).toMatch(/not COMPLETED within 1 s: POST http:\S+: connect ECONNREFUSED/);
  });

  it.each([400, 404, 422, 429, 500])('fails at once after %i, which does not mean a slow start', async (status) => {
    const started = await run([{ status, body: { code: 'wrong' } }]);
    expect(started).toMatchObject({ code: 1, errors: expect.stringContaining(`answered ${status}: {"code":"wrong"}`) });
    expect(started.requests).toHaveLength(1);
    const later = await run([shows('PENDING'), { status, body: {} }]);
    expect(later).toMatchObject({ code: 1, requests: ['POST /tasks', 'GET /tasks/1'] });
  });

  it('submits to the given queue, or to the default one', async () => {
    expect((await run([shows('COMPLETED')], { more: ['reports'] })).tasks[0]).toMatchObject({ queue: 'reports' });
    expect((await run([shows('COMPLETED')])).tasks[0]).not.toHaveProperty('queue');
  });

  it('sends the secret of its client with every request', async () => {
    const objects = render({ set: WITH_CLIENT });
    const volume = only(objects, 'Pod').spec.volumes.find(({ name }: Loose) => name === 'client');
    const secret = 's'.repeat(40);
    using mounted = mount(objects, volume, { key: { secret: `${secret}\n` } });
    const more = ['default', join(mounted.directory, 'secret')];
    const good = await run([shows('PENDING'), AWAY, shows('COMPLETED')], { more });
    expect(good).toMatchObject({ code: 0, errors: '' });
    expect([...good.authorizations]).toEqual([`Bearer ${secret}`]);
    const wrong = await run([{ status: 401, body: { code: 'unauthenticated' } }], { more });
    expect(wrong).toMatchObject({
      code: 1,
      errors: expect.stringContaining('answered 401: {"code":"unauthenticated"}'),
    });
    expect(wrong.requests).toHaveLength(1);
    for (const { said, errors } of [good, wrong]) expect(said + errors).not.toContain(secret);
    const without = await run([shows('COMPLETED')], { more: ['default'] });
    expect([...without.authorizations]).toEqual([undefined]);
  });

  it('without a client waits only until the API is ready, and says so', async () => {
    const more = ['default', 'no-client'];
    const ready = await run([AWAY, { body: { status: 'ready' } }], { more, listensAfterMs: 500 });
    expect(ready).toMatchObject({ code: 0, errors: '', tasks: [] });
    expect([...new Set(ready.requests)]).toEqual(['GET /readyz']);
    expect(ready.said).toContain(
      'No task was submitted, because the API asks for a key and helmTest.client names no client',
    );
    const never = await run([AWAY], { more, seconds: '1' });
    expect(never).toMatchObject({
      code: 1,
      errors: expect.stringMatching(/not ready within 1 s: GET http:\S+\/readyz answered 503/),
    });
  });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}
