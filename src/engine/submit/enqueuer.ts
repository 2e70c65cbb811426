import { StoreUnavailableError } from '../../core/errors.ts';
import { idMilliseconds } from '../../core/ids.ts';
import { priorityName } from '../../core/priority.ts';
import type { Service } from '../../lifecycle/service.ts';
import type { TaskQueue } from '../order/task-queue.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { CommittedTask } from './submitter.ts';

/** Enters committed tasks into Redis beside the answers to their submitters. */
export interface Enqueuer extends Service {
  /** Never throws; what Redis does not take, reconcile enters. */
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
      // An outage has one line of its own, where it is noticed.
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
