import type { QueueLook } from '../queue/sweep-queue.ts';
import type { QueueRow } from '../store/queue-settings.ts';
import type { SweepContext } from './sweep-context.ts';

/** A queue as both stores have it at the start of a pass. */
export type SweptQueue = QueueRow & QueueLook;

/** So many queues are asked after at a time. */
const QUEUES_AT_ONCE = 100;

/** Looks at every queue, and copies its settings: a claim that finds none would wait, one that finds old ones would go on. */
export async function lookAtQueues({ store, sweepQueue, queue }: SweepContext): Promise<SweptQueue[]> {
  const records = await store.queues();
  const looks: QueueLook[] = [];
  for (let i = 0; i < records.length; i += QUEUES_AT_ONCE) {
    const some = records.slice(i, i + QUEUES_AT_ONCE);
    const [seen] = await Promise.all([
      Promise.all(some.map(({ name }) => sweepQueue.look(name))),
      Promise.all(some.map((record) => queue.setSettings(record.name, record))),
    ]);
    looks.push(...seen);
  }
  return records.map((record, i) => ({ ...record, ...(looks[i] as QueueLook) }));
}
