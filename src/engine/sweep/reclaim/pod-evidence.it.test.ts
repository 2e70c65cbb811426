import { beforeEach, describe, expect, it } from 'vitest';
import { atEndOfFile } from '../../../../test/harness/end-of-file.ts';
import {
  podNamed,
  servePods,
  startKubernetesApi,
  status,
  type TestKubernetesApi,
} from '../../../../test/harness/kubernetes-api.ts';
import { startProcess, untilTrue, type TestProcess } from '../../../../test/harness/processes.ts';
import { createTestStores, type TestStores } from '../../../../test/harness/stores.ts';
import { openSweepParts, type SweepTestParts } from '../../../../test/harness/sweeping.ts';
import { createKubernetesClient } from '../../../kubernetes/client.ts';
import { findClusterAccess } from '../../../kubernetes/cluster-access.ts';
import { createPodCheck } from '../../../kubernetes/pod-check.ts';
import { createReclaimer } from '../../../reclaimer/reclaimer.ts';
import { createWorkerRegistry, type WorkerRegistry } from '../../presence/worker-registry.ts';
import type { SweepResult } from '../sweep-result.ts';
import { createPodEvidence, type PodEvidence } from './pod-evidence.ts';

const TTL = { HEARTBEAT_TTL: 10_000, HEARTBEAT_INTERVAL: 3_000 };
const UID = '0a1b2c3d-0000-4000-8000-000000000001';
const WORKER = `${UID}.aaaa`;

let stores: TestStores;
let parts: SweepTestParts;
let registry: WorkerRegistry;
let api: TestKubernetesApi;
let pods: Map<string, object>;
let evidence: PodEvidence;

beforeEach(async () => {
  stores = await createTestStores();
  parts = await openSweepParts(stores.env);
  registry = createWorkerRegistry(parts.redis, parts.keys);
  await parts.queue.setSettings('default', { version: 1, paused: false });
  pods = new Map([['worker-1', podNamed('worker-1', UID)]]);
  const server = await startKubernetesApi(servePods(pods));
  api = server;
  const access = findClusterAccess({ ...parts.config, ...stores.env, ...accessTo(api) });
  if (access === null) throw new Error('the service account is there');
  const check = createPodCheck({
    client: createKubernetesClient(access),
    namespace: access.namespace,
    log: parts.log,
  });
  evidence = createPodEvidence(check, registry);
  // Load the client now, as a pass does while a worker is only late. On a busy machine it takes longer than a lease.
  await evidence.prepare();
  atEndOfFile(async () => {
    await check.close();
    await server.close();
  });
});

const accessTo = ({ port, serviceAccount }: TestKubernetesApi) => ({
  KUBERNETES_SERVICE_HOST: '127.0.0.1',
  KUBERNETES_SERVICE_PORT: port,
  KUBERNETES_SERVICE_ACCOUNT: serviceAccount,
});

/** Adds a worker whose last beat was `agoMs` ago, with a task that runs and one that it has only claimed. */
async function silentWorker(workerId: string, agoMs: number, pod?: { name: string; namespace: string }): Promise<void> {
  await parts.submit([parts.newTask(), parts.newTask()]);
  await parts.start(workerId, 1);
  await parts.claim(workerId, 1);
  const described = { host: 'h', pod, pid: 1, queues: ['default'], slots: 2, busy: 1, draining: false };
  await registry.beat(
    { id: workerId, ...described, startedAt: '2026-01-01T12:00:00.000Z' },
    { ...parts.config, HEARTBEAT_TTL: 60_000 },
  );
  await parts.beaten(workerId, agoMs);
  // This comes last: if the steps above took seconds, the beat has recorded a gap, and no worker is judged after a gap.
  await parts.gapEnded(3_600_000);
}

async function sweep(pieces = evidence, settings = TTL): Promise<SweepResult | null> {
  return parts.newSweeper({ settings, pods: pieces }).runOnce('reclaimer');
}

const IN_POD = { name: 'worker-1', namespace: 'tasks' };

describe('a silent worker', () => {
  it('whose pod is gone loses its tasks and its place in the registry in the same pass', async () => {
    await silentWorker(WORKER, 3_700, IN_POD);
    pods.clear();
    expect(await sweep()).toMatchObject({ reclaimed: 1, reconciled: { claim: 1 }, silent: true });
    expect(await parts.queue.counts('default')).toMatchObject({ ready: 2, inflight: 0 });
    expect(await parts.sql(`SELECT DISTINCT status::text AS status, worker_id FROM tasks`)).toEqual([
      { status: 'PENDING', worker_id: null },
    ]);
    expect(await parts.sweepQueue.silences([])).toEqual([]);
    expect(await sweep()).toMatchObject({ reclaimed: 0, silent: false });
  });

  it('keeps its tasks while its pod exists, until it has been silent for its time to live', async () => {
    await silentWorker(WORKER, 6_000, IN_POD);
    expect(await sweep()).toMatchObject({ reclaimed: 0, silent: true });
    expect(api.requests).toHaveLength(1);
    await parts.beaten(WORKER, 10_100);
    expect(await sweep()).toMatchObject({ reclaimed: 1 });
    expect(api.requests).toHaveLength(1);
  });

  it('causes no question to Kubernetes while it is only late', async () => {
    // Times are ten times as long, so that the delays of a busy machine do not matter.
    const slow = { HEARTBEAT_TTL: 100_000, HEARTBEAT_INTERVAL: 30_000 };
    pods.clear();
    await silentWorker(WORKER, 15_000, IN_POD);
    expect(await sweep(evidence, slow)).toMatchObject({ reclaimed: 0, silent: false });
    await parts.beaten(WORKER, 32_000);
    expect(await sweep(evidence, slow)).toMatchObject({ reclaimed: 0, silent: true });
    expect(api.requests).toEqual([]);
    await parts.beaten(WORKER, 36_500);
    expect(await sweep(evidence, slow)).toMatchObject({ reclaimed: 1 });
  });

  it.each([
    ['that is not in a pod', 'host.aaaa', IN_POD],
    ['that did not say where it runs', WORKER, undefined],
    ['of another namespace', WORKER, { name: 'worker-1', namespace: 'elsewhere' }],
  ])('%s causes no question to Kubernetes', async (_, workerId, pod) => {
    pods.clear();
    await silentWorker(workerId, 6_000, pod);
    expect(await sweep()).toMatchObject({ reclaimed: 0, silent: true });
    expect(api.requests).toEqual([]);
  });

  it('keeps its tasks while the API refuses or hangs, and the pass keeps its lease and reclaims other tasks', async () => {
    await silentWorker(WORKER, 6_000, IN_POD);
    await silentWorker('dead.1', 10_100);
    api.handle = () => status(403, 'Forbidden');
    expect(await sweep()).toMatchObject({ reclaimed: 1, silent: true });
    api.handle = () => null;
    expect(await sweep()).toMatchObject({ reclaimed: 0, silent: true });
    const [row] = await parts.sql(`SELECT count(*)::int AS held FROM tasks WHERE worker_id = $1`, [WORKER]);
    expect(row).toEqual({ held: 1 });
  });

  it('that beats during the question is alive, whatever the answer', async () => {
    await silentWorker(WORKER, 6_000, IN_POD);
    const late: PodEvidence = {
      ...evidence,
      async goneOf(workerIds) {
        await parts.beaten(WORKER, 0);
        return new Map(workerIds.map((id) => [id, 'its pod is gone']));
      },
    };
    expect(await sweep(late)).toMatchObject({ reclaimed: 0 });
  });
});

describe('between two passes', () => {
  it('Kubernetes is asked at once about a worker that falls silent, even if the interval is long', async () => {
    const settings = { ...TTL, HEARTBEAT_INTERVAL: 500, SWEEP_INTERVAL: 600_000, RECLAIMER_WINDOW: 600_000 };
    const { promise: firstPass, resolve } = Promise.withResolvers<void>();
    const sweeper = parts.newSweeper({ settings, pods: evidence });
    const reclaimer = createReclaimer({
      sweeper: {
        ...sweeper,
        async watch(...args) {
          resolve();
          await sweeper.watch(...args);
        },
      },
      settings,
      loop: true,
      log: parts.log,
    });
    await silentWorker(WORKER, 0, IN_POD);
    await reclaimer.start();
    await firstPass;
    expect(api.requests).toEqual([]);
    pods.clear();
    await untilTrue(async () => {
      const [row] = await parts.sql<{ held: number }>(`SELECT count(*)::int AS held FROM tasks WHERE worker_id = $1`, [
        WORKER,
      ]);
      return row?.held === 0;
    });
    expect(api.requests.length).toBeGreaterThan(0);
    await reclaimer.stop();
  });
});

/** Prints which slow packages a process loads. */
const TELL_SLOW_PACKAGES = `data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from 'node:module';
  registerHooks({
    load(url, context, next) {
      const name = /node_modules.(@kubernetes|@mikro-orm|koa)/.exec(url)?.[1];
      if (name !== undefined) console.log(JSON.stringify({ msg: 'slow package', name }));
      return next(url, context);
    },
  });
`)}`;

describe('scheduler reclaimer in a cluster', () => {
  const run = (env: Record<string, string> = {}) =>
    startProcess(['node', '--import', TELL_SLOW_PACKAGES, 'src/main.ts', 'reclaimer'], {
      ...stores.env,
      ...api.env,
      HEARTBEAT_TTL: '60s',
      ...env,
    });

  const slowPackagesOf = ({ lines }: TestProcess): unknown[] => [
    ...new Set(lines.filter(({ msg }) => msg === 'slow package').map(({ name }) => name)),
  ];

  it('asks Kubernetes by default if its pod has a token', async () => {
    await silentWorker(WORKER, 5_000, IN_POD);
    pods.clear();
    const reclaimer = run();
    const line = await reclaimer.waitForLine(({ msg }) => msg === 'worker presumed dead, its tasks were reclaimed');
    expect(line).toMatchObject({ dead_worker_id: WORKER, evidence: 'pod', tasks: 1 });
    expect(slowPackagesOf(reclaimer)).toEqual(['@kubernetes']);
    reclaimer.signal('SIGTERM');
    expect(await reclaimer.waitForExit()).toEqual({ code: 0, signal: null });
  });

  it('loads no Kubernetes client while no worker is late', async () => {
    await silentWorker(WORKER, 0, IN_POD);
    const reclaimer = run({ RECLAIMER_WINDOW: '0s' });
    expect(await reclaimer.waitForExit()).toEqual({ code: 0, signal: null });
    expect(slowPackagesOf(reclaimer)).toEqual([]);
  });

  it('does not ask Kubernetes if the check is switched off', async () => {
    await silentWorker(WORKER, 5_000, IN_POD);
    pods.clear();
    expect(await run({ KUBERNETES_POD_CHECK: 'off', RECLAIMER_WINDOW: '0s' }).waitForExit()).toEqual({
      code: 0,
      signal: null,
    });
    expect(api.requests).toEqual([]);
  });
});
