import { writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { equal, kubectl, NAMESPACE, podsOf, readyPods, RELEASE, sql, until } from '../cluster.ts';
import { curve, type Sample } from '../curve.ts';
import { startLoad } from '../load.ts';
import { desiredWorkers, externalDemand, query } from '../monitoring.ts';
import { keepWorkers, MOST_WORKERS } from '../release.ts';
import type { Step } from '../step.ts';
import { attempts, cancelOpen, copies, drained, submitAll } from '../tasks.ts';

const BURST = 10_000;
const LOOK_MS = 2_000;

export const autoscaling: Step = {
  name: 'autoscaling',
  promise: `10,000 tasks scale the workers from 1 to ${MOST_WORKERS} and back to 1, and none is interrupted`,
  async body(api) {
    keepWorkers(1);
    await until('the autoscaler sees the demand', 180, () => externalDemand('default') !== null);
    await until('one worker', 180, () => readyPods('worker').length === 1);
    const before = attempts();
    const startedMs = performance.now();
    const samples: Sample[] = [];
    const look = (): Sample => {
      const seconds = (performance.now() - startedMs) / 1_000;
      const sample = { seconds, demand: externalDemand('default') ?? 0, workers: readyPods('worker').length };
      samples.push(sample);
      return sample;
    };

    await submitAll(api, copies(BURST, { execution_time: 0.2 }));
    await until('the most workers', 180, () => look().workers === MOST_WORKERS, LOOK_MS);
    await until('busy pods have a deletion cost', 60, () => deletionCosts().some((cost) => cost > 0), LOOK_MS);
    await until('the burst is worked off', 300, () => look().demand < 50, LOOK_MS);
    // Keep tasks running while pods are removed. Otherwise the scale-in could not interrupt anything.
    const trickle = startLoad(api, 2, { payload: { trickle: true }, execution_time: 1.5 });
    await until('one worker again', 300, () => look().workers === 1, LOOK_MS);
    const { accepted, failures } = await trickle.stop();

    equal(failures, [], 'requests that failed');
    await drained(30);
    const completed = (before['COMPLETED'] ?? 0) + BURST + accepted.length;
    equal(attempts(), { ...before, COMPLETED: completed }, 'attempts: none released, lost or repeated');
    saveCurve(samples);
    return `${accepted.length} more tasks during the scale-in; from 1 to ${MOST_WORKERS} to 1 in ${samples.at(-1)?.seconds.toFixed(0)} s`;
  },
};

function deletionCosts(): number[] {
  const annotation = 'controller.kubernetes.io/pod-deletion-cost';
  return podsOf('worker').map(({ metadata }) => Number(metadata.annotations?.[annotation] ?? 0));
}

function saveCurve(samples: readonly Sample[]): void {
  const file = process.env['E2E_CURVE'];
  if (file !== undefined) writeFileSync(file, curve(samples, '10,000 tasks of 200 ms: demand and workers'));
}

export const replicasDoNotAddUp: Step = {
  name: 'api-replicas',
  promise: 'two and three API replicas cause as many workers as one',
  async body(api) {
    keepWorkers(1);
    // 24 tasks run during the whole step. They need three pods: 10 slots each, at 80 %.
    await submitAll(api, copies(24, { execution_time: 600 }));
    // During the claims, one replica may count tasks as ready and another one as in flight. The autoscaler considers this
    // for its window of 20 s, so wait until the window has passed.
    await until('every replica shows them in flight', 60, () => exporters() === readyPods('api').length, 1_000);
    await delay(30_000);
    const seen: number[] = [];
    try {
      for (const replicas of [1, 2, 3]) {
        kubectl('scale', `deployment/${RELEASE}-api`, `--replicas=${replicas}`);
        await until(`${replicas} API pods export the demand`, 120, () => exporters() === replicas, 1_000);
        seen.push(await mostDesired(15));
      }
    } finally {
      kubectl('scale', `deployment/${RELEASE}-api`, '--replicas=2');
    }
    equal(sql(`SELECT count(*) FROM tasks WHERE status = 'PROCESSING'`), '24', 'tasks that run');
    equal(seen, [3, 3, 3], 'desired workers with 1, 2 and 3 replicas');
    await cancelOpen(api);
    await until('two API pods', 60, () => readyPods('api').length === 2);
    return `${seen.join(', ')} workers`;
  },
};

/** Returns the most workers that the autoscaler wants within the given seconds, which cover three of its passes. */
async function mostDesired(seconds: number): Promise<number> {
  const looks: number[] = [];
  for (let i = 0; i < seconds; i++) {
    looks.push(desiredWorkers());
    await delay(1_000);
  }
  return Math.max(...looks);
}

/** Returns how many pods export the 24 tasks. Each pod counts once, even if Prometheus scrapes it several times. */
function exporters(): number | null {
  const inFlight = `scheduler_queue_tasks{namespace="${NAMESPACE}",queue="default",state="inflight"} == 24`;
  return query(`count(count by (pod) (${inFlight}))`);
}
