import { withConnection } from '../../../scripts/stores/postgres.ts';
import type { Clients } from '../clients.ts';
import { FLEETING_QUEUE } from '../system.ts';
import { until } from '../until.ts';
import { momentary, type Fault, type FaultContext } from './fault.ts';

const MISBEHAVES = 'a handler that blocks the event loop or ignores its signal';

/** Faults that come as tasks. */
export const HANDLER_FAULTS: readonly Fault[] = [
  fault('poison pill among long tasks', ['a task that kills its worker'], async ({ submitKind, submitMany }) => {
    // The high priority makes these tasks run at the same time.
    await submitMany('work', 9, { priority: 1, ms: 2_500 });
    await submitKind('pill', { priority: 1, ms: 300 });
    await submitMany('work', 10, { priority: 1, ms: 2_500 });
  }),
  fault('handler blocks the event loop', [], ({ submitKind }) => submitKind('blocks', { ms: 8_000 })),
  // This exceeds its time limit and the watchdog's limit, so that the process is killed.
  fault('handler blocks the event loop for good', [MISBEHAVES], ({ submitKind }) =>
    submitKind('blocks-for-good', { ms: 60_000, timeout: 1, priority: 1 }),
  ),
  fault('handler ignores its signal', [MISBEHAVES], ({ submitKind }) =>
    submitKind('ignores-signal', { ms: 4_000, timeout: 1, max_retries: 0 }),
  ),
  {
    name: 'requeue while the zombie runs',
    family: 'handlers',
    resource: 'none',
    targets: null,
    rows: [MISBEHAVES],
    lastsMs: momentary,
    inject: requeueBesideZombie,
  },
  fault('handler throws what is no error', [], async ({ submitKind }) => {
    await submitKind('throws-text', { max_retries: 0 });
    await submitKind('throws-nul', { max_retries: 0 });
    await submitKind('unserialisable', { max_retries: 0 });
    await submitKind('stray');
  }),
  fault('failures on the fleeting queue', [], async ({ submitMany, requeue }) => {
    const ids = await submitMany('final', 5, { queue: FLEETING_QUEUE });
    for (const id of ids) await requeue(id);
  }),
  fault('handler leaks memory until it is killed', ['a task that kills its worker'], ({ submitKind }) =>
    submitKind('leak', { priority: 1 }),
  ),
  // These are no faults, but make others visible, with long runs and a queue that is never empty.
  fault('long tasks', [], ({ submitMany }) => submitMany('work', 12, { priority: 1, ms: 5_000 })),
  fault('burst on the strict queue', [], ({ submitMany }) => submitMany('work', 150, { queue: 'strict', ms: 40 })),
];

function fault(name: string, rows: readonly string[], body: (clients: Clients) => Promise<unknown>): Fault {
  return {
    name,
    family: 'handlers',
    resource: 'none',
    targets: null,
    rows,
    lastsMs: momentary,
    async inject({ clients }) {
      await body(clients);
      return 'submitted';
    },
  };
}

/** Lets an attempt time out and requeues its task, so that its handler still runs beside that of the next attempt. */
async function requeueBesideZombie({ system, clients }: FaultContext): Promise<string> {
  const id = await clients.submitKind('ignores-signal', { ms: 8_000, timeout: 1, max_retries: 0, priority: 1 });
  const failedBeyond = async (attempt: number): Promise<number> => {
    const text = `SELECT attempt FROM tasks WHERE id = $1 AND status = 'FAILED' AND attempt > $2`;
    let found = 0;
    await until(`task ${id} fails`, async () => {
      const { rows } = await withConnection(system.postgres.url, (client) => client.query(text, [id, attempt]));
      found = rows[0]?.attempt ?? 0;
      return found > 0;
    });
    return found;
  };
  const zombie = await failedBeyond(0);
  await clients.requeue(id);
  return `attempt ${zombie} failed, was requeued, and attempt ${await failedBeyond(zombie)} failed`;
}
