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
import { createWorkerRegistry, type WorkerRegistry } from '../../presence/worker-registry.ts';
import { createPodEvidence, type PodEvidence } from './pod-evidence.ts';
import { createReclaimer } from '../../../reclaimer/reclaimer.ts';
import type { SweepResult } from '../sweep-result.ts';

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
  // As while a worker is only late: on a busy machine, to load the client takes longer than a lease lasts.
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

/** A worker that beat that long ago, with a task that runs and one that it only claimed. */
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
  // At the very end: where what was before took seconds, the beat above has noted a gap, and nobody is judged after one.
  await parts.gapEnded(3_600_000);
}

async function sweep(pieces = evidence, settings = TTL): Promise<SweepResult | null> {
  return parts.newSweeper({ settings, pods: pieces }).runOnce('reclaimer');
}

const IN_POD = { name: 'worker-1', namespace: 'tasks' };

describe('a silent worker', () => {
  it('whose pod is gone loses its tasks in the very same pass, and its place in the registry', async () => {
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

  it('keeps them while its pod is there, and is noticed by its silence in the end', async () => {
    await silentWorker(WORKER, 6_000, IN_POD);
    expect(await sweep()).toMatchObject({ reclaimed: 0, silent: true });
    expect(api.requests).toHaveLength(1);
    await parts.beaten(WORKER, 10_100);
    expect(await sweep()).toMatchObject({ reclaimed: 1 });
    expect(api.requests).toHaveLength(1);
  });

  it('is not asked for while it is no more than late', async () => {
    // Ten times as long, so that a busy machine does not make it later than it is.
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
  ])('%s is not asked for', async (_, workerId, pod) => {
    pods.clear();
    await silentWorker(workerId, 6_000, pod);
    expect(await sweep()).toMatchObject({ reclaimed: 0, silent: true });
    expect(api.requests).toEqual([]);
  });

  it('keeps them while the API refuses or hangs, which costs the pass neither its lease nor the dead', async () => {
    await silentWorker(WORKER, 6_000, IN_POD);
    await silentWorker('dead.1', 10_100);
    api.handle = () => status(403, 'Forbidden');
    expect(await sweep()).toMatchObject({ reclaimed: 1, silent: true });
    api.handle = () => null;
    expect(await sweep()).toMatchObject({ reclaimed: 0, silent: true });
    const [row] = await parts.sql(`SELECT count(*)::int AS held FROM tasks WHERE worker_id = $1`, [WORKER]);
    expect(row).toEqual({ held: 1 });
  });

  it('that beats while the question is out lives, whatever the answer', async () => {
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
  it('who falls silent is asked for at once, however long the interval', async () => {
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

/** Says which packages are loaded that take long to load. */
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

  it('asks by itself where its pod has a token', async () => {
    await silentWorker(WORKER, 5_000, IN_POD);
    pods.clear();
    const reclaimer = run();
    const line = await reclaimer.waitForLine(({ msg }) => msg === 'worker presumed dead, its tasks were reclaimed');
    expect(line).toMatchObject({ dead_worker_id: WORKER, evidence: 'pod', tasks: 1 });
    expect(slowPackagesOf(reclaimer)).toEqual(['@kubernetes']);
    reclaimer.signal('SIGTERM');
    expect(await reclaimer.waitForExit()).toEqual({ code: 0, signal: null });
  });

  it('loads no client while nobody is late', async () => {
    await silentWorker(WORKER, 0, IN_POD);
    const reclaimer = run({ RECLAIMER_WINDOW: '0s' });
    expect(await reclaimer.waitForExit()).toEqual({ code: 0, signal: null });
    expect(slowPackagesOf(reclaimer)).toEqual([]);
  });

  it('does not where it is switched off', async () => {
    await silentWorker(WORKER, 5_000, IN_POD);
    pods.clear();
    expect(await run({ KUBERNETES_POD_CHECK: 'off', RECLAIMER_WINDOW: '0s' }).waitForExit()).toEqual({
      code: 0,
      signal: null,
    });
    expect(api.requests).toEqual([]);
  });
});
