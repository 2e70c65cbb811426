import { setTimeout as delay } from 'node:timers/promises';
import { demandQuery } from '../../chart/promql.ts';
import { type Api, post } from '../api.ts';
import { atMost, equal, NAMESPACE, podsOf, readyPods, RELEASE, run, sql, until } from '../cluster.ts';
import { startLoad } from '../load.ts';
import { activeAlerts, externalDemand, query } from '../monitoring.ts';
import { MOST_WORKERS, reconfigure } from '../release.ts';
import type { Step } from '../step.ts';
import { attempts, copies, drained, submitAll } from '../tasks.ts';

/**
 * Command that is called with `on` and `off` to switch KEDA. Use `true` on a cluster that has KEDA, if nothing else needs
 * the external metrics API there.
 */
const KEDA = (process.env['E2E_KEDA'] ?? '').split(' ');
const BURST = 4_000;
/** Limit for the first start. The delays of Prometheus' scrape and KEDA's poll come on top of the start of a pod. */
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
  promise: `KEDA scales the workers to 0, from 0 to ${MOST_WORKERS} and back to 0, and can be removed again; no task is interrupted, no alert is raised`,
  async body(api) {
    switchKeda('on');
    try {
      reconfigure(BY_KEDA);
      return await toZeroAndBack(api);
    } finally {
      reconfigure(BY_HPA);
      try {
        // Wait for a worker before KEDA is removed: KEDA starts it, and the autoscaler never scales up from 0.
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
  // After two scrapes and evaluations, every alert that would fire is pending.
  await delay(15_000);
  equal(query(demandQuery(NAMESPACE, RELEASE, 'default')), 0, 'demand without a worker');
  equal(
    activeAlerts().filter((name) => !alerts.has(name)),
    [],
    'alerts that appeared without workers',
  );

  const atOnce = await secondsToStart(api, {});
  await noWorkers();
  const delayed = await secondsToStart(api, { delay: 5 });
  atMost(Math.max(atOnce, delayed), FIRST_START_SECONDS, 'seconds to the first start');

  await submitAll(api, copies(BURST, { execution_time: 0.2 }));
  await until('the most workers', 180, () => readyPods('worker').length === MOST_WORKERS);
  // Keep tasks running while pods are removed. Otherwise the scale-in could not interrupt anything.
  const trickle = startLoad(api, 2, { payload: { trickle: true }, execution_time: 1.5 });
  await until('one worker', 300, () => readyPods('worker').length === 1, 1_000);
  const { accepted, failures } = await trickle.stop();
  equal(failures, [], 'requests that failed');
  await drained(60);
  await noWorkers();
  const completed = (before['COMPLETED'] ?? 0) + BURST + accepted.length + 2;
  equal(attempts(), { ...before, COMPLETED: completed }, 'attempts: none released, lost or repeated');
  return `from 0, the first start came after ${atOnce.toFixed(0)} s, and ${delayed.toFixed(0)} s after a delay`;
}

async function noWorkers(): Promise<void> {
  await until('no worker', 240, () => podsOf('worker').length === 0, 1_000);
}

/** Returns the time from the moment at which a task may run to the start of its attempt. */
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
