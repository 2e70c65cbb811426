import type { Clients } from '../clients.ts';
import { momentary, type Fault } from './fault.ts';

const MISBEHAVES = 'a handler that blocks the event loop or ignores its signal';

/** Faults that come as tasks. */
export const HANDLER_FAULTS: readonly Fault[] = [
  fault('poison pill among long tasks', ['a task that kills its worker'], async ({ submitKind, submitMany }) => {
    // Ahead of everything else, so that they run beside each other.
    await submitMany('work', 9, { priority: 1, ms: 2_500 });
    await submitKind('pill', { priority: 1, ms: 300 });
    await submitMany('work', 10, { priority: 1, ms: 2_500 });
  }),
  fault('handler blocks the event loop', [], ({ submitKind }) => submitKind('blocks', { ms: 8_000 })),
  // Beyond its time limit and the watchdog's patience: the process is killed.
  fault('handler blocks the event loop for good', [MISBEHAVES], ({ submitKind }) =>
    submitKind('blocks-for-good', { ms: 60_000, timeout: 1, priority: 1 }),
  ),
  fault('handler ignores its signal', [MISBEHAVES], ({ submitKind }) =>
    submitKind('ignores-signal', { ms: 4_000, timeout: 1, max_retries: 0 }),
  ),
  fault('handler throws what is no error', [], async ({ submitKind }) => {
    await submitKind('throws-text', { max_retries: 0 });
    await submitKind('throws-nul', { max_retries: 0 });
    await submitKind('unserialisable', { max_retries: 0 });
    await submitKind('stray');
  }),
  fault('handler leaks memory until it is killed', ['a task that kills its worker'], ({ submitKind }) =>
    submitKind('leak', { priority: 1 }),
  ),
  // No faults, but what makes others visible: runs that last, and a queue that is never empty.
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
