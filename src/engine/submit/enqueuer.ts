import { StoreUnavailableError } from '../../core/errors.ts';
import { idMilliseconds } from '../../core/ids.ts';
import { priorityName } from '../../core/priority.ts';
import type { Service } from '../../lifecycle/service.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { TaskQueue } from '../order/task-queue.ts';
import type { CommittedTask } from './submitter.ts';

/** Enters committed tasks into Redis. The answers to the submitters do not wait for it. */
export interface Enqueuer extends Service {
  /** Never throws: reconcile enters the tasks that Redis did not take. */
  enter(tasks: readonly CommittedTask[]): void;
}

export function createEnqueuer(queue: Pick<TaskQueue, 'enqueue'>, metrics: Metrics, log: Logger): Enqueuer {
  const underWay = new Set<Promise<void>>();

  const enterInto = async (name: string, tasks: readonly CommittedTask[]): Promise<void> => {
    try {
      await queue.enqueue(
        name,
        tasks.map(({ task: { id, priority }, waitMs }) => ({
          position: { id, priority, placeMs: idMilliseconds(id) },
          waitMs,
        })),
      );
    } catch (error) {
      metrics.enqueueFailures.inc(tasks.length);
      // An outage is logged once, by the code that notices it.
      if (!(error instanceof StoreUnavailableError))
        log.error({ err: error, queue: name }, 'tasks could not be entered into Redis');
    }
  };

  return {
    name: 'enqueuer',
    async start() {},
    enter(tasks) {
      for (const [name, ofQueue] of Map.groupBy(tasks, ({ task }) => task.queue)) {
        for (const [priority, { length }] of Map.groupBy(ofQueue, ({ task }) => task.priority))
          metrics.tasksSubmitted.inc({ queue: metrics.queueLabel(name), priority: priorityName(priority) }, length);
        const work = enterInto(name, ofQueue);
        underWay.add(work);
        void work.finally(() => underWay.delete(work));
      }
    },
    async stop() {
      await Promise.all(underWay);
    },
  };
}
