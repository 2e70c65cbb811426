import { setTimeout as delay } from 'node:timers/promises';
import { type Api, post, send } from '../api.ts';
import { equal, kubectl, readyPods, RELEASE, sql, until } from '../cluster.ts';
import { startLoad } from '../load.ts';
import { SLOTS } from '../release.ts';
import type { Step } from '../step.ts';
import { completedOf, copies, drained, submitAll } from '../tasks.ts';

export const redisDeleted: Step = {
  name: 'redis',
  promise: 'if the Redis pod is deleted, submissions continue, the order is restored, and no task is lost',
  async body(api) {
    await post(api, '/queues/default/pause', {});
    // Submit more tasks of each priority than all workers have slots, with the lowest priority first.
    const each = readyPods('worker').length * SLOTS + 10;
    for (const priority of ['Low', 'Medium', 'High'] as const)
      await submitAll(api, copies(each, { priority, execution_time: 0.1 }));
    const load = startLoad(api, 20, { payload: { redis: true }, priority: 'Low' });
    await restartPod('redis');
    await delay(5_000);
    const { accepted, failures } = await load.stop();
    equal(failures.slice(0, 5), [], 'requests that failed');

    // Compare the order only after all tasks are in the new Redis.
    const waiting = String(3 * each + accepted.length);
    await until('the order is restored', 60, async () => (await pausedCount(api)) === waiting);
    const resumedAt = sql('SELECT clock_timestamp()');
    await post(api, '/queues/default/resume', {});
    await drained(120);
    equal(completedOf(accepted), accepted.length, 'accepted tasks that are COMPLETED');
    const started = (aggregate: string, priority: number): string =>
      `SELECT ${aggregate}(l.started_at) FROM execution_logs l JOIN tasks t ON t.id = l.task_id WHERE t.priority = ${priority} AND l.started_at >= '${resumedAt}'`;
    equal(sql(`SELECT (${started('max', 1)}) <= (${started('min', 3)})`), 't', 'every High began before any Low');
    return `${accepted.length} submitted meanwhile, ${waiting} tasks in order again`;
  },
};

export const postgresqlRestarted: Step = {
  name: 'postgresql',
  promise: 'if the PostgreSQL pod restarts, submissions fail with 503 meanwhile, and no accepted task is lost',
  async body(api) {
    const load = startLoad(api, 20, { payload: { postgresql: true }, execution_time: 0.05 });
    await delay(3_000);
    await restartPod('postgresql');
    await delay(5_000);
    const { accepted, failures, slowestMs } = await load.stop();
    const unclean = failures.filter((failure) => !failure.startsWith('503 '));
    equal(unclean.slice(0, 5), [], 'requests that failed without a 503');
    await drained(180);
    equal(completedOf(accepted), accepted.length, 'accepted tasks that are COMPLETED');
    return `${accepted.length} accepted, all COMPLETED; ${failures.length} answered 503; the slowest answer ${slowestMs.toFixed(0)} ms`;
  },
};

async function restartPod(store: string): Promise<void> {
  kubectl('delete', 'pod', `${RELEASE}-${store}-0`);
  await until(`${store} is ready again`, 120, () => readyPods(store).length === 1);
}

async function pausedCount(api: Api): Promise<string> {
  const response = await send(api, '/queues/default');
  const { counts } = (await response.json()) as { counts: { ready: number; due: number } };
  return String(counts.ready + counts.due);
}
