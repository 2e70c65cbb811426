import { setTimeout as delay } from 'node:timers/promises';
import { demandQuery } from '../../chart/promql.ts';
import { type Api, post } from '../api.ts';
import { atMost, equal, NAMESPACE, podsOf, readyPods, RELEASE, run, sql, until } from '../cluster.ts';
import { startLoad } from '../load.ts';
import { activeAlerts, externalDemand, query } from '../monitoring.ts';
import { MOST_WORKERS, reconfigure } from '../release.ts';
import type { Step } from '../step.ts';
import { attempts, copies, drained, submitAll } from '../tasks.ts';

/** Called with `on` and `off`; `true` on a cluster that has KEDA, and where nobody else needs its external metrics. */
const KEDA = (process.env['E2E_KEDA'] ?? '').split(' ');
const BURST = 4_000;
/** Prometheus' scrape and KEDA's look, each at most so many seconds, come on top of a pod's start. */
const FIRST_START_SECONDS = 60;

const BY_KEDA = [
  'workers.default.autoscaling.mode=keda',
  'workers.default.autoscaling.minReplicas=0',
  'workers.default.autoscaling.keda.serverAddress=http://prometheus.monitoring.svc:9090',
  'workers.default.autoscaling.keda.pollingIntervalSeconds=5',
  'workers.default.autoscaling.keda.cooldownSeconds=30',
];
const BY_HPA = ['workers.default.autoscaling.mode=hpa', 'workers.default.autoscaling.minReplicas=1'];

export const keda: Step = {
  name: 'keda',
  promise: `KEDA scales the workers to 0, from 0 to ${MOST_WORKERS} and back to 0, and gives them back; no task is interrupted, no alert is raised`,
  async body(api) {
    switchKeda('on');
    try {
      reconfigure(BY_KEDA);
      return await toZeroAndBack(api);
    } finally {
      reconfigure(BY_HPA);
      try {
        // Before KEDA is gone, which does it: the autoscaler leaves 0 alone.
        await until('a worker again', 120, () => readyPods('worker').length > 0, 1_000);
      } finally {
        switchKeda('off');
      }
      await until('the autoscaler sees the demand again', 180, () => externalDemand('default') !== null);
    }
  },
};

async function toZeroAndBack(api: Api): Promise<string> {
  const before = attempts();
  const alerts = new Set(activeAlerts());
  await noWorkers();
  // Two scrapes and evaluations: what would fire in time is pending by then.
  await delay(15_000);
  equal(query(demandQuery(NAMESPACE, RELEASE, 'default')), 0, 'demand without a worker');
  equal(
    activeAlerts().filter((name) => !alerts.has(name)),
    [],
    'alerts that came with the last worker gone',
  );

  const atOnce = await secondsToStart(api, {});
  await noWorkers();
  const delayed = await secondsToStart(api, { delay: 5 });
  atMost(Math.max(atOnce, delayed), FIRST_START_SECONDS, 'seconds to the first start');

  await submitAll(api, copies(BURST, { execution_time: 0.2 }));
  await until('the most workers', 180, () => readyPods('worker').length === MOST_WORKERS);
  // Something always runs while pods are taken away, or nothing could be interrupted.
  const trickle = startLoad(api, 2, { payload: { trickle: true }, execution_time: 1.5 });
  await until('one worker', 300, () => readyPods('worker').length === 1, 1_000);
  const { accepted, failures } = await trickle.stop();
  equal(failures, [], 'requests that failed');
  await drained(60);
  await noWorkers();
  const completed = (before['COMPLETED'] ?? 0) + BURST + accepted.length + 2;
  equal(attempts(), { ...before, COMPLETED: completed }, 'attempts: none released, none lost, none twice');
  return `from 0, the first start came after ${atOnce.toFixed(0)} s, and ${delayed.toFixed(0)} s after a delay`;
}

async function noWorkers(): Promise<void> {
  await until('no worker', 240, () => podsOf('worker').length === 0, 1_000);
}

/** From the time at which a task may run to the start of its attempt. */
async function secondsToStart(api: Api, options: { delay?: number }): Promise<number> {
  const { id } = (await post(api, '/tasks', { payload: { fromZero: true }, execution_time: 0.1, ...options })) as {
    id: string;
  };
  const status = `SELECT status FROM tasks WHERE id = '${id}'`;
  await until('the task is COMPLETED', 2 * FIRST_START_SECONDS, () => sql(status) === 'COMPLETED');
  const wait = 'extract(epoch FROM l.started_at - t.run_at)';
  return Number(sql(`SELECT ${wait} FROM tasks t JOIN execution_logs l ON l.task_id = t.id WHERE t.id = '${id}'`));
}

function switchKeda(state: 'on' | 'off'): void {
  const [program = 'true', ...args] = KEDA;
  run(program, [...args, state]);
}
