import { setTimeout as delay } from 'node:timers/promises';
import type { Api } from '../api.ts';
import { atMost, equal, kubectl, podsOf, readyPods, RELEASE, run, sql, until } from '../cluster.ts';
import { startLoad } from '../load.ts';
import { sweepNow, suspendCronJob } from '../reclaimer-runs.ts';
import { keepWorkers, reconfigure } from '../release.ts';
import type { Step } from '../step.ts';
import { cancelOpen, completedOf, copies, drained, submitAll } from '../tasks.ts';

const WORKERS = 3;
const KILLS = 3;

export const workerKilledDuringRun: Step = {
  name: 'worker-during-run',
  promise: 'if a worker pod is deleted with grace 0 while a run of the CronJob sweeps, its tasks run again within 7 s',
  async body(api) {
    await haveWorkers();
    const seconds: number[] = [];
    for (let kill = 0; kill < KILLS; kill++) {
      await sweepNow();
      seconds.push(await killWorker(api));
    }
    const shown = seconds.map((each) => each.toFixed(1)).join(' s, ');
    atMost(Math.max(...seconds), 7, `seconds until the tasks ran again, of ${shown}`);
    return `after ${shown} s`;
  },
};

export const workerKilledBetweenRuns: Step = {
  name: 'worker-between-runs',
  promise: 'if a worker pod is deleted without the CronJob, its tasks run again within 15 s',
  async body(api) {
    await haveWorkers();
    await suspendCronJob();
    const seconds = await killWorker(api);
    atMost(seconds, 15, 'seconds until the tasks ran again');
    return `after ${seconds.toFixed(1)} s`;
  },
};

async function haveWorkers(): Promise<void> {
  keepWorkers(WORKERS);
  await until(`${WORKERS} workers`, 120, () => readyPods('worker').length >= WORKERS);
}

/** Kills the worker with the most tasks, and returns how many seconds it took until all of them ran again. */
async function killWorker(api: Api): Promise<number> {
  await submitAll(api, copies(8, { execution_time: 300 }));
  await until('tasks run', 20, () => sql(`SELECT count(*) FROM tasks WHERE status = 'PROCESSING'`) === '8');
  const victim = sql(
    `SELECT worker_id FROM tasks WHERE status = 'PROCESSING' GROUP BY 1 ORDER BY count(*) DESC LIMIT 1`,
  );
  const pod = podsOf('worker').find(({ metadata }) => victim.startsWith(metadata.uid));
  if (pod === undefined) throw new Error(`no pod of worker ${victim}`);

  const ids = sql(`SELECT id FROM tasks WHERE status = 'PROCESSING' AND worker_id = '${victim}'`).split('\n');
  const again = `FROM tasks WHERE id IN (${ids.map((id) => `'${id}'`).join(',')}) AND status = 'PROCESSING' AND attempt > 1`;
  const killedAt = sql('SELECT clock_timestamp()');
  kubectl('delete', 'pod', pod.metadata.name, '--grace-period=0', '--force');
  await until('its tasks run again', 40, () => sql(`SELECT count(*) ${again}`) === String(ids.length));
  const seconds = Number(sql(`SELECT max(extract(epoch FROM started_at - timestamptz '${killedAt}')) ${again}`));
  await cancelOpen(api);
  await until(`${WORKERS} workers again`, 60, () => readyPods('worker').length >= WORKERS);
  return seconds;
}

/** One API pod and no disruption budgets, so that the pods of the only node can be evicted. */
const WITHOUT_BUDGETS = [
  'api.replicas=1',
  'api.podDisruptionBudget.enabled=false',
  'workerDefaults.podDisruptionBudget.enabled=false',
  'reclaimer.suspend=true',
];

export const nodeDrained: Step = {
  name: 'node-drained',
  promise: 'no accepted task is lost if the pods of a node are evicted under load',
  async body(api) {
    const nodes = run('kubectl', ['get', 'nodes', '--output', 'name']).split('\n');
    const alone = nodes.length === 1;
    // With only one node, a replacement cannot start, so a budget would block the eviction of the last pod forever.
    if (alone) reconfigure(WITHOUT_BUDGETS);
    await until('a worker', 120, () => readyPods('worker').length > 0);
    const node = podsOf('worker')[0]?.spec.nodeName ?? '';
    const load = startLoad(api, 10, { payload: { drain: true }, execution_time: 2 });
    await delay(3_000);
    try {
      // Evict only the pods of this release.
      const own = `app.kubernetes.io/instance=${RELEASE},app.kubernetes.io/component in (api,worker,redis)`;
      run('kubectl', [
        'drain',
        node,
        '--pod-selector',
        own,
        '--delete-emptydir-data',
        '--ignore-daemonsets',
        '--timeout',
        '120s',
      ]);
    } finally {
      run('kubectl', ['uncordon', node]);
    }
    await until('API and workers are back', 120, () => readyPods('api').length > 0 && readyPods('worker').length > 0);
    const { accepted, failures } = await load.stop();
    if (!alone) equal(failures.slice(0, 5), [], 'requests that failed');
    await drained(180);
    equal(completedOf(accepted), accepted.length, 'accepted tasks that are COMPLETED');
    return `${accepted.length} accepted, all COMPLETED; ${failures.length} not accepted while ${alone ? 'the only' : 'one'} node was closed`;
  },
};
