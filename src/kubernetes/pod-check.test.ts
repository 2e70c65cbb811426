import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { freePort } from '../../scripts/stores/private-server.ts';
import {
  podNamed,
  servePods,
  startKubernetesApi,
  status,
  type ApiAnswer,
  type TestKubernetesApi,
} from '../../test/harness/kubernetes-api.ts';
import { createLogger } from '../telemetry/logger.ts';
import { createKubernetesClient } from './client.ts';
import { createPodCheck, howEnded, type PodCheck, type WorkerPod } from './pod-check.ts';

const UID = '0a1b2c3d-0000-4000-8000-000000000001';
const STARTED = Date.parse('2026-01-01T12:00:00.500Z');
const worker: WorkerPod = {
  workerId: `${UID}.aaaa`,
  uid: UID,
  name: 'worker-1',
  namespace: 'tasks',
  startedAtMs: STARTED,
};

const pods = new Map<string, object>();
let lines: Record<string, unknown>[];
let api: TestKubernetesApi;
let check: PodCheck;

beforeEach(async () => {
  pods.clear();
  lines = [];
  api = await startKubernetesApi(servePods(pods));
  check = openCheck({});
  await check.prepare();
});

afterEach(async () => {
  await check.close();
  await api.close();
});

function openCheck(changes: { port?: number; timeoutMs?: number }): PodCheck {
  // The timeout is long, so that a busy machine does not look like an API that does not answer.
  const { port = api.port, timeoutMs = 10_000 } = changes;
  const file = (name: string): string => `${api.serviceAccount}/${name}`;
  const server = `https://127.0.0.1:${port}`;
  const client = createKubernetesClient({
    server,
    caFile: file('ca.crt'),
    tokenFile: file('token'),
    namespace: 'tasks',
  });
  const log = createLogger('info', {}, { write: (line) => void lines.push(JSON.parse(line)) });
  return createPodCheck({ client, namespace: 'tasks', log, timeoutMs });
}

const gone = async (...workers: WorkerPod[]): Promise<string[]> => [...(await check.findGone(workers)).keys()];

describe('a pod check', () => {
  it('takes only an unknown name and another UID as proof', async () => {
    const other = { ...worker, workerId: 'other', name: 'worker-2' };
    const lives = { ...worker, workerId: 'lives', name: 'worker-3' };
    pods.set('worker-2', podNamed('worker-2', 'ffffffff-0000-4000-8000-000000000001'));
    pods.set('worker-3', podNamed('worker-3', UID, [{ name: 'worker', state: { running: {} } }]));
    expect(await gone(worker, other, lives)).toEqual([worker.workerId, 'other']);
    expect(api.requests.map(({ method, path }) => `${method} ${path}`).toSorted()).toEqual(
      [1, 2, 3].map((nth) => `GET /api/v1/namespaces/tasks/pods/worker-${nth}`),
    );
    expect(lines).toEqual([]);
  });

  it('does not ask for pods of another namespace', async () => {
    expect(await gone({ ...worker, namespace: 'elsewhere' })).toEqual([]);
    expect(api.requests).toEqual([]);
  });

  it.each<[string, ApiAnswer]>([
    ['a refusal', status(403, 'Forbidden')],
    ['a refused token', status(401, 'Unauthorized')],
    ['an overloaded server', status(429, 'TooManyRequests')],
    ['a broken server', status(500, 'InternalError')],
    ["a 404 that is not the API's", { status: 404, body: '404 page not found' }],
    ['a 404 of something else', status(404, 'NotFound', 'namespaces')],
    ['an answer without a UID', { status: 200, body: { kind: 'Pod', metadata: { name: 'worker-1' } } }],
    ['an answer about another pod', { status: 200, body: podNamed('worker-9', 'another') }],
    ['an answer that is not JSON', { status: 200, body: 'hello' }],
  ])('does not take %s as evidence', async (_, answer) => {
    api.handle = () => answer;
    expect(await gone(worker)).toEqual([]);
  });

  it('does not wait for an API that does not answer', async () => {
    check = openCheck({ timeoutMs: 200 });
    await check.prepare();
    api.handle = () => null;
    const sinceMs = performance.now();
    expect(await gone(worker)).toEqual([]);
    expect(performance.now() - sinceMs).toBeLessThan(4_000);
    expect(lines).toMatchObject([{ err: { message: expect.stringContaining('did not answer') } }]);
  });

  it('logs once that the API cannot be used, and once that it can be used again', async () => {
    const closed = openCheck({ port: await freePort() });
    expect([...(await closed.findGone([worker])).keys()]).toEqual([]);
    await closed.close();
    expect(lines).toMatchObject([{ level: 'warn', err: { message: expect.stringContaining('ECONNREFUSED') } }]);

    lines.length = 0;
    api.handle = () => status(403, 'Forbidden');
    for (let i = 0; i < 3; i++) expect(await gone(worker, worker)).toEqual([]);
    api.handle = servePods(pods);
    for (let i = 0; i < 2; i++) expect(await gone(worker)).toEqual([worker.workerId]);
    expect(lines.map(({ level, msg }) => [level, msg])).toEqual([
      ['warn', 'cannot ask the Kubernetes API for pods: a dead worker is noticed only by its silence'],
      ['info', 'can ask the Kubernetes API for pods again'],
    ]);
  });
});

describe('howEnded', () => {
  const finished = (finishedAt: string) => ({ terminated: { exitCode: 137, finishedAt: new Date(finishedAt) } });
  const before = finished('2026-01-01T11:59:59Z');
  const after = finished('2026-01-01T12:00:07Z');
  const running = { running: { startedAt: new Date('2026-01-01T12:00:08Z') } };
  const how = (...containers: { name: string; state?: object; lastState?: object }[]): string | null =>
    howEnded(
      {
        metadata: { name: 'worker-1', uid: UID },
        status: {
          phase: 'Failed',
          containerStatuses: containers.map((container) => ({
            ready: false,
            restartCount: 0,
            image: 'i',
            imageID: 'i',
            ...container,
          })),
        },
      },
      worker,
    );

  const ended = (...containers: Parameters<typeof how>): boolean => how(...containers) !== null;

  it('says how the container ended, as far as Kubernetes knows', () => {
    const oom = { terminated: { ...after.terminated, reason: 'OOMKilled' } };
    expect(how({ name: 'worker', state: running, lastState: oom })).toBe(
      'its container ended: OOMKilled, exit code 137',
    );
    expect(how({ name: 'worker', state: after })).toBe('its container ended: exit code 137');
  });

  it('sees the end of the container, even if it has started again or waits to start', () => {
    expect(ended({ name: 'worker', state: after })).toBe(true);
    expect(ended({ name: 'worker', state: running, lastState: after })).toBe(true);
    expect(ended({ name: 'worker', state: { waiting: { reason: 'CrashLoopBackOff' } }, lastState: after })).toBe(true);
  });

  it('does not take the end of an earlier process as the end of this one', () => {
    expect(ended({ name: 'worker', state: before })).toBe(false);
    expect(ended({ name: 'worker', state: running, lastState: before })).toBe(false);
  });

  it('looks at the container of the worker, not at others in the pod', () => {
    expect(ended({ name: 'proxy', state: after }, { name: 'worker', state: running })).toBe(false);
    expect(ended({ name: 'proxy', state: running }, { name: 'worker', state: after })).toBe(true);
    expect(ended({ name: 'main', state: after }, { name: 'proxy', state: running })).toBe(false);
    expect(ended({ name: 'main', state: after }, { name: 'proxy', state: after })).toBe(true);
  });

  it('does not trust a phase without a container', () => {
    expect(ended()).toBe(false);
  });
});
