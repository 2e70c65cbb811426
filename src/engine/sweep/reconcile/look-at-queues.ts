import type { SweptQueue } from './findings.ts';
import type { ReconcileContext } from './reconcile-context.ts';
import type { QueueLook } from './reconcile-queue.ts';

/** Number of queues that are looked at concurrently. */
const QUEUES_AT_ONCE = 100;

/**
 * Looks at every queue, and copies its settings to Redis. Without settings, claims would wait; with old settings,
 * claims from a paused queue would go on.
 */
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
 * Overwrites settings in Redis that are newer than their row. The row is read again first. If it is still older,
 * PostgreSQL has lost the change (through a restored backup, or a failover to a standby that lagged behind), and the
 * row counts.
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
      'settings in Redis were newer than their row, and were overwritten by it',
    );
  }
}
