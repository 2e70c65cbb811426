import type { TaskFields } from '../clients.ts';
import { momentary, type Fault } from './fault.ts';

const MISBEHAVES = 'a handler that blocks the event loop or ignores its signal';

/** Faults that come as tasks. */
export const HANDLER_FAULTS: readonly Fault[] = [
  fault('poison pill among long tasks', ['a task that kills its worker'], async (submit) => {
    // Ahead of everything else, so that they run beside each other.
    const long = { priority: 1, ms: 2_500 };
    await Promise.all(Array.from({ length: 9 }, () => submit('work', long)));
    await submit('pill', { priority: 1, ms: 300 });
    await Promise.all(Array.from({ length: 10 }, () => submit('work', long)));
  }),
  fault('handler blocks the event loop', [MISBEHAVES], (submit) => submit('blocks', { ms: 8_000 })),
  fault('handler ignores its signal', [MISBEHAVES], (submit) => submit('ignores-signal', { ms: 4_000, timeout: 1, max_retries: 0 })),
  fault('handler throws what is no error', [], async (submit) => {
    await submit('throws-text', { max_retries: 0 });
    await submit('throws-nul', { max_retries: 0 });
    await submit('unserialisable', { max_retries: 0 });
    await submit('stray', {});
  }),
  fault('handler leaks memory until it is killed', ['a task that kills its worker'], (submit) => submit('leak', { priority: 1 })),
];

function fault(
  name: string,
  rows: readonly string[],
  body: (submit: (kind: string, fields: TaskFields) => Promise<string>) => Promise<unknown>,
): Fault {
  return {
    name,
    family: 'handlers',
    resource: 'none',
    targets: null,
    rows,
    lastsMs: momentary,
    async inject({ clients }) {
      await body((kind, fields) => clients.submitKind(kind, fields));
      return 'submitted';
    },
  };
}
