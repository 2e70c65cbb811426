import type { Attempt } from './attempt.ts';

/**
 * What the main loop shows the heartbeat thread, in shared memory: a thread can
 * read it while the main loop is blocked. Times are `monotonicNowMs()`, the one
 * clock that all threads of a process have in common.
 */
export interface Pulse {
  readonly buffer: SharedArrayBuffer;
  /** When the main loop last turned. */
  tickMs: number;
  /** The earliest deadline of a running attempt that is not settled; 0 if there is none. */
  readonly deadlineMs: number;
  /** Slots in use. */
  busy: number;
  /** True once the worker has stopped claiming. */
  draining: boolean;
  /** Shows the attempt whose time limit is over first; null if none runs. */
  show(earliest: Attempt | null): void;
  /** The attempt that was shown last; null while there is none. */
  readonly earliest: ShownAttempt | null;
  /**
   * The last words of a process that is about to exit. Waits until the thread has passed them on, at most `ms`: the
   * main loop will not turn again.
   */
  endWith(words: string, ms: number): void;
  /** Resolves with the last words, in the thread. Nothing is kept alive for it. */
  lastWords(): Promise<string>;
  /** The last words have been passed on. */
  passedOn(): void;
}

/** What is shown of an attempt. */
export interface ShownAttempt {
  readonly taskId: string;
  readonly attempt: number;
  readonly queue: string;
  readonly traceId: string;
  readonly action: string;
}

const FIELDS = ['tick', 'deadline', 'busy', 'draining', 'shownLength', 'wordsLength', 'ending'] as const;
type Field = (typeof FIELDS)[number];

const CELLS_BYTES = FIELDS.length * BigInt64Array.BYTES_PER_ELEMENT;
/** More than the longest names of a task come to. */
const SHOWN_BYTES = 1_024;
const WORDS_BYTES = 4_096;

const ENDING = { not: 0n, told: 1n, passedOn: 2n } as const;

export function createPulse(buffer = new SharedArrayBuffer(CELLS_BYTES + SHOWN_BYTES + WORDS_BYTES)): Pulse {
  const cells = new BigInt64Array(buffer, 0, FIELDS.length);
  const shown = Buffer.from(buffer, CELLS_BYTES, SHOWN_BYTES);
  const words = Buffer.from(buffer, CELLS_BYTES + SHOWN_BYTES, WORDS_BYTES);
  const ending = FIELDS.indexOf('ending');
  let latest: Attempt | null = null;

  const get = (field: Field): number => Number(Atomics.load(cells, FIELDS.indexOf(field)));
  const set = (field: Field, value: number): void => {
    Atomics.store(cells, FIELDS.indexOf(field), BigInt(Math.round(value)));
  };
  return {
    buffer,
    get tickMs() {
      return get('tick');
    },
    set tickMs(ms) {
      set('tick', ms);
    },
    get deadlineMs() {
      return get('deadline');
    },
    get busy() {
      return get('busy');
    },
    set busy(slots) {
      set('busy', slots);
    },
    get draining() {
      return get('draining') === 1;
    },
    set draining(value) {
      set('draining', value ? 1 : 0);
    },
    show(earliest) {
      if (earliest === latest) return;
      latest = earliest;
      set('deadline', earliest?.deadlineMs ?? 0);
      set('shownLength', earliest === null ? 0 : shown.write(shownText(earliest)));
    },
    get earliest() {
      return shownAttempt(shown.toString('utf8', 0, get('shownLength')));
    },
    endWith(text, ms) {
      set('wordsLength', words.write(text));
      Atomics.store(cells, ending, ENDING.told);
      Atomics.notify(cells, ending);
      Atomics.wait(cells, ending, ENDING.told, ms);
    },
    async lastWords() {
      await Atomics.waitAsync(cells, ending, ENDING.not).value;
      return words.toString('utf8', 0, get('wordsLength'));
    },
    passedOn() {
      Atomics.store(cells, ending, ENDING.passedOn);
      Atomics.notify(cells, ending);
    },
  };
}

/** The action comes last: it is the one text that may hold a line break. */
function shownText({ task, action }: Attempt): string {
  return `${task.id}\n${task.attempt}\n${task.queue}\n${task.traceId}\n${action}`;
}

function shownAttempt(text: string): ShownAttempt | null {
  if (text === '') return null;
  const [taskId = '', attempt = '', queue = '', traceId = '', ...action] = text.split('\n');
  return { taskId, attempt: Number(attempt), queue, traceId, action: action.join('\n') };
}

/** Milliseconds that only grow, the same in every thread (`performance.now()` starts anew in each). */
export function monotonicNowMs(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000;
}
