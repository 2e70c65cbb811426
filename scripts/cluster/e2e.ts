import { writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { type Api, attempts, drained, openApi, startLoad, submitAll } from './api.ts';
import { helm, kubectl, kubectlJson, NAMESPACE, readyPods, RELEASE, selector, sql, until } from './cluster.ts';
import { curve, type Sample } from './curve.ts';
import { activeAlerts, externalDemand, installAdapterRule, installAlerts } from './monitoring.ts';

/** Proves on a cluster what the chart promises; see `scripts/e2e`, which brings cluster and images. */

const IMAGE = imageValues(process.env['E2E_IMAGE'] ?? 'scheduler:e2e');
const NEXT_IMAGE = imageValues(process.env['E2E_NEXT_IMAGE'] ?? 'scheduler:e2e-next');
const VALUES = ['--values', 'k8s/values-kind.yaml', '--values', 'k8s/values-autoscaling.yaml'];
const SMALL = [
  // Room for everything on one small node; and it scales in fast enough to be watched.
  'api.resources.requests.cpu=50m',
  'workerDefaults.resources.requests.cpu=50m',
  'workers.default.slots=10',
  'workers.default.autoscaling.maxReplicas=4',
  'workers.default.autoscaling.scaleDownStabilizationSeconds=20',
  'workers.default.autoscaling.scaleDownPeriodSeconds=10',
  'config.RATE_LIMIT_PER_MINUTE=0',
].flatMap((value) => ['--set', value]);
const MOST_WORKERS = 4;

let passed = 0;
let failed = 0;

async function step(name: string, body: () => Promise<string | void>): Promise<void> {
  const startedMs = performance.now();
  try {
    const note = await body();
    passed++;
    console.log(`ok    ${name} (${((performance.now() - startedMs) / 1_000).toFixed(0)} s)${note ? `: ${note}` : ''}`);
  } catch (error) {
    failed++;
    console.log(`FAIL  ${name}`);
    console.log(error);
  }
}

function equal(given: unknown, expected: unknown, what: string): void {
  const [text, wanted] = [JSON.stringify(given), JSON.stringify(expected)];
  if (text !== wanted) throw new Error(`${what}: expected ${wanted}, got ${text}`);
}

function imageValues(image: string): string[] {
  const colon = image.lastIndexOf(':');
  return ['--set', `image.repository=${image.slice(0, colon)}`, '--set-string', `image.tag=${image.slice(colon + 1)}`];
}

await step('install: the first task is COMPLETED within 60 s', install);
if (failed === 0) {
  const api = await openApi();
  try {
    await step('autoscaling: 10,000 tasks, from 1 worker to the most and back, none interrupted', () =>
      scaleWithLoad(api),
    );
    await step('autoscaling: two and three API replicas ask for no more workers than one', () =>
      replicasDoNotAddUp(api),
    );
    await step('upgrade with a new migration under 100 requests a second', () => upgradeUnderLoad(api));
    await step('worker killed: its tasks run again within 15 s', () => killWorker(api));
    await step('Redis deleted: order restored, nothing lost', () => deleteStore(api, 'redis'));
    await step('PostgreSQL restarted: nothing that was accepted is lost', () => deleteStore(api, 'postgresql'));
    await step('two reclaimers at once', () => twoReclaimers(api));
    await step('CronJob suspended: workers stand in, and the alert says so', () => suspendReclaimer());
  } finally {
    api.close();
  }
}
await step('uninstall leaves nothing but volume claims', uninstall);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

async function install(): Promise<string> {
  installAdapterRule();
  const startedMs = performance.now();
  helm('install', RELEASE, 'charts/scheduler', '--create-namespace', ...VALUES, ...SMALL, ...IMAGE, '--timeout', '5m');
  await until('an API pod is ready', 120, () => readyPods('api').length > 0 && readyPods('worker').length > 0);
  helm('test', RELEASE, '--logs');
  const seconds = (performance.now() - startedMs) / 1_000;
  installAlerts([...VALUES, ...SMALL]);
  if (seconds > 60)
    throw new Error(`the first task was COMPLETED ${seconds.toFixed(0)} s after the installation began`);
  return `${seconds.toFixed(0)} s`;
}

async function scaleWithLoad(api: Api): Promise<string> {
  await until('the autoscaler sees the demand', 180, () => externalDemand('default') !== null);
  await until('one worker', 120, () => readyPods('worker').length === 1);
  const startedMs = performance.now();
  const samples: Sample[] = [];
  const look = (): Sample => {
    const sample = {
      seconds: (performance.now() - startedMs) / 1_000,
      demand: externalDemand('default') ?? 0,
      workers: readyPods('worker').length,
    };
    samples.push(sample);
    return sample;
  };
  await submitAll(
    api,
    Array.from({ length: 10_000 }, (_, i) => ({ payload: { i }, execution_time: 0.2 })),
  );
  await until('the most workers', 120, () => look().workers === MOST_WORKERS);
  await until('the demand is worked off', 300, () => look().demand === 0);
  const last = await until('one worker again', 300, () => look().workers === 1);
  equal(await drained('default', 10), { COMPLETED: 10_001 }, 'tasks');
  equal(attempts('default'), { COMPLETED: 10_001 }, 'attempts: none released, none lost, none twice');
  writeFileSync('docs/autoscaling.svg', curve(samples, '10,000 tasks of 200 ms: demand and workers'));
  return `worked off and scaled in after ${samples.at(-1)?.seconds.toFixed(0)} s, the last ${last.toFixed(0)} s of them without work`;
}

async function replicasDoNotAddUp(api: Api): Promise<string> {
  // A queue that nobody works on has a steady demand.
  await submitAll(
    api,
    Array.from({ length: 24 }, (_, i) => ({ payload: { i }, queue: 'parity' })),
  );
  const seen: (number | null)[] = [];
  for (const replicas of [1, 2, 3]) {
    kubectl('scale', `deployment/${RELEASE}-api`, `--replicas=${replicas}`);
    await until(`${replicas} API pods`, 90, () => readyPods('api').length === replicas);
    // Two scrapes of every replica, and a reading of the adapter.
    await delay(15_000);
    seen.push(externalDemand('parity'));
  }
  kubectl('scale', `deployment/${RELEASE}-api`, '--replicas=2');
  sql(`UPDATE tasks SET status = 'CANCELLED', finished_at = now() WHERE queue = 'parity'`);
  equal(seen, [24, 24, 24], 'demand with 1, 2 and 3 replicas');
  return '24 each time';
}

async function upgradeUnderLoad(api: Api): Promise<string> {
  if (!api.direct) throw new Error('needs the Service: a forwarded port ends with its pod');
  const load = startLoad(api, 100, { payload: { upgrade: true }, queue: 'default', execution_time: 0.01 });
  const both: number[] = [];
  const watch = setInterval(() => both.push(versions()), 1_000);
  try {
    helm(
      'upgrade',
      RELEASE,
      'charts/scheduler',
      ...VALUES,
      ...SMALL,
      ...NEXT_IMAGE,
      '--set',
      'config.LOG_LEVEL=debug',
      '--wait',
      '--timeout',
      '5m',
    );
    kubectl('rollout', 'status', `deployment/${RELEASE}-api`, '--timeout', '120s');
  } finally {
    clearInterval(watch);
  }
  const { accepted, failures, slowestMs } = await load.stop();
  equal(failures.slice(0, 5), [], 'requests that failed');
  await drained('default', 120);
  equal(
    sql("SELECT count(*) FROM tasks WHERE queue = 'default' AND status <> 'COMPLETED'"),
    '0',
    'tasks not completed',
  );
  equal(sql("SELECT count(*) FROM migrations WHERE name = '9999-next'"), '1', 'the new migration');
  return `${accepted.length} requests, 0 failed, the slowest ${slowestMs.toFixed(0)} ms; ${Math.max(0, ...both)} versions side by side`;
}

function versions(): number {
  const images = kubectl(
    'get',
    'pods',
    '--selector',
    selector('api'),
    '--output',
    'jsonpath={.items[*].spec.containers[0].image}',
  );
  return new Set(images.split(' ')).size;
}

async function killWorker(api: Api): Promise<string> {
  await submitAll(
    api,
    Array.from({ length: 10 }, (_, i) => ({ payload: { i }, execution_time: 3 })),
  );
  const running = `SELECT count(*) FROM tasks WHERE status = 'PROCESSING' AND queue = 'default'`;
  await until('tasks run', 20, () => Number(sql(running)) > 0);
  const victim = sql(`SELECT worker_id FROM tasks WHERE status = 'PROCESSING' LIMIT 1`);
  const pods = kubectlJson('get', 'pods', '--selector', selector('worker')) as {
    items: { metadata: { name: string; uid: string } }[];
  };
  const pod = pods.items.find(({ metadata }) => victim.startsWith(metadata.uid));
  if (pod === undefined) throw new Error(`no pod of worker ${victim}`);
  kubectl('delete', 'pod', pod.metadata.name, '--grace-period=0', '--force');
  const seconds = await until(
    'its tasks were taken back',
    16,
    () => sql(`SELECT count(*) FROM tasks WHERE worker_id = '${victim}' AND status = 'PROCESSING'`) === '0',
  );
  equal(await drained('default', 120).then(({ FAILED = 0 }) => FAILED), 0, 'tasks that failed');
  return `taken back after ${seconds.toFixed(1)} s`;
}

async function deleteStore(api: Api, store: 'redis' | 'postgresql'): Promise<string> {
  const load = startLoad(api, 20, { payload: { store }, execution_time: 0.05 });
  await delay(3_000);
  kubectl('delete', 'pod', `${RELEASE}-${store}-0`);
  await until(`${store} is ready again`, 120, () => readyPods(store).length === 1);
  await delay(5_000);
  const { accepted, failures } = await load.stop();
  const unclean = failures.filter((failure) => !failure.startsWith('503 '));
  if (store === 'redis') equal(failures.slice(0, 5), [], 'requests that failed');
  else equal(unclean.slice(0, 5), [], 'requests that failed otherwise than by 503');
  await drained('default', 180);
  const done = sql(
    `SELECT count(*) FROM tasks WHERE status = 'COMPLETED' AND id IN (${accepted.map((id) => `'${id}'`).join(',')})`,
  );
  equal(Number(done), accepted.length, 'accepted tasks that were COMPLETED');
  return `${accepted.length} accepted and completed, ${failures.length} answered 503`;
}

async function twoReclaimers(api: Api): Promise<void> {
  for (const name of ['e2e-a', 'e2e-b']) kubectl('create', 'job', name, `--from=cronjob/${RELEASE}-reclaimer`);
  await submitAll(
    api,
    Array.from({ length: 50 }, (_, i) => ({ payload: { i }, execution_time: 0.5 })),
  );
  await drained('default', 60);
  for (const name of ['e2e-a', 'e2e-b']) kubectl('wait', '--for=condition=complete', `job/${name}`, '--timeout=90s');
  kubectl('delete', 'job', 'e2e-a', 'e2e-b');
  equal(
    sql("SELECT count(*) FROM execution_logs WHERE outcome = 'LOST' AND started_at > now() - interval '1 minute'"),
    '0',
    'runs taken for lost',
  );
}

async function suspendReclaimer(): Promise<string> {
  kubectl('patch', 'cronjob', `${RELEASE}-reclaimer`, '--patch', '{"spec":{"suspend":true}}');
  try {
    const seconds = await until('the alert', 330, () => activeAlerts().includes('SchedulerReclaimerStale'));
    equal(activeAlerts().includes('SchedulerSweepStale'), false, 'nobody sweeps');
    return `after ${seconds.toFixed(0)} s`;
  } finally {
    kubectl('patch', 'cronjob', `${RELEASE}-reclaimer`, '--patch', '{"spec":{"suspend":false}}');
  }
}

async function uninstall(): Promise<void> {
  helm('uninstall', RELEASE, '--wait', '--timeout', '3m');
  const kinds =
    'deployments,statefulsets,cronjobs,jobs,pods,services,configmaps,secrets,networkpolicies,hpa,pdb,serviceaccounts,roles';
  await until('everything is gone', 90, () => {
    const left = kubectl('get', kinds, '--selector', `app.kubernetes.io/instance=${RELEASE}`, '--output', 'name');
    return left === '';
  });
  const claims = kubectl('get', 'persistentvolumeclaims', '--output', 'name');
  equal(claims, `persistentvolumeclaim/data-${RELEASE}-postgresql-0`, `what is left in ${NAMESPACE}`);
  kubectl('delete', 'persistentvolumeclaims', '--all');
}
