import type { Attempt } from '../engine/attempts/attempt.ts';

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
  readonly action: string;
}

const FIELDS = ['tick', 'deadline', 'busy', 'draining', 'attempt', 'actionLength', 'wordsLength', 'ending'] as const;
type Field = (typeof FIELDS)[number];

const CELLS_BYTES = FIELDS.length * BigInt64Array.BYTES_PER_ELEMENT;
const ID_BYTES = 36;
/** Of an action's name; what is longer is cut. */
const ACTION_BYTES = 512;
const WORDS_BYTES = 4_096;

const ENDING = { not: 0n, told: 1n, passedOn: 2n } as const;

export function createPulse(
  buffer = new SharedArrayBuffer(CELLS_BYTES + ID_BYTES + ACTION_BYTES + WORDS_BYTES),
): Pulse {
  const cells = new BigInt64Array(buffer, 0, FIELDS.length);
  const id = Buffer.from(buffer, CELLS_BYTES, ID_BYTES);
  const action = Buffer.from(buffer, CELLS_BYTES + ID_BYTES, ACTION_BYTES);
  const words = Buffer.from(buffer, CELLS_BYTES + ID_BYTES + ACTION_BYTES, WORDS_BYTES);
  const ending = FIELDS.indexOf('ending');
  let latest: Attempt | null = null;
  let latestAction = '';

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
      if (earliest === null) return set('attempt', 0);
      set('attempt', earliest.task.attempt);
      id.write(earliest.task.id, 'latin1');
      // Thousands a second are shown: most of them have the action of the one before.
      if (earliest.action === latestAction) return;
      latestAction = earliest.action;
      set('actionLength', action.write(latestAction));
    },
    get earliest() {
      const attempt = get('attempt');
      if (attempt === 0) return null;
      return { taskId: id.toString('latin1'), attempt, action: action.toString('utf8', 0, get('actionLength')) };
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

/** Milliseconds that only grow, the same in every thread (`performance.now()` starts anew in each). */
export function monotonicNowMs(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000;
}
