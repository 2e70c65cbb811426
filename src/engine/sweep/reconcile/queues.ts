import type { QueueLook } from './reconcile-queue.ts';
import type { QueueRow } from '../../order/queue-settings.ts';
import type { ReconcileContext } from './reconcile-context.ts';

/** A queue as both stores have it at the start of a pass. */
export type SweptQueue = QueueRow & QueueLook;

/** So many queues are asked after at a time. */
const QUEUES_AT_ONCE = 100;

/** Looks at every queue, and copies its settings: a claim that finds none would wait, one that finds old ones would go on. */
export async function lookAtQueues(context: ReconcileContext): Promise<SweptQueue[]> {
  const { store, members, queue } = context;
  const rows = await store.queues();
  const looks: QueueLook[] = [];
  for (let i = 0; i < rows.length; i += QUEUES_AT_ONCE) {
    const some = rows.slice(i, i + QUEUES_AT_ONCE);
    const [seen] = await Promise.all([
      Promise.all(some.map(({ name }) => members.look(name))),
      Promise.all(some.map((row) => queue.setSettings(row.name, row))),
    ]);
    looks.push(...seen);
  }
  const queues = rows.map((row, i) => ({ ...row, ...(looks[i] as QueueLook) }));
  await replaceLostSettings(context, queues);
  return queues;
}

/**
 * Settings go from the row to Redis. Where Redis has newer ones than the row, and the row, read after that, has no newer ones
 * either, PostgreSQL has lost the change (a restored backup, a failover to a standby that lagged behind): the row is the record.
 */
async function replaceLostSettings(
  { store, queue, log }: ReconcileContext,
  queues: readonly SweptQueue[],
): Promise<void> {
  const ahead = new Map(
    queues.flatMap(({ name, version, settingsVersion }) =>
      settingsVersion > version ? [[name, settingsVersion]] : [],
    ),
  );
  if (ahead.size === 0) return;
  for (const row of await store.queues()) {
    const lostVersion = ahead.get(row.name) ?? 0;
    if (lostVersion <= row.version) continue;
    await queue.setSettings(row.name, row, lostVersion);
    log.warn(
      { queue: row.name, paused: row.paused },
      'settings in Redis were newer than their row, and gave way to it',
    );
  }
}
