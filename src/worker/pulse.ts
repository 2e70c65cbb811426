import type { Attempt } from '../engine/attempts/attempt.ts';

/**
 * Shared memory in which the main loop shows its state to the heartbeat thread. The thread can read it while the main loop
 * is blocked. Times come from `monotonicNowMs()`, which is the same in all threads of a process.
 */
export interface Pulse {
  readonly buffer: SharedArrayBuffer;
  /** Time of the main loop's latest tick. */
  tickMs: number;
  /** The earliest deadline among the running attempts that are not settled; 0 if there are none. */
  readonly deadlineMs: number;
  /** Slots in use. */
  busy: number;
  /** True once the worker has stopped claiming. */
  draining: boolean;
  /** Shows the attempt with the earliest deadline; null if no attempt runs. */
  show(earliest: Attempt | null): void;
  /** The attempt shown most recently; null if no attempt runs. */
  readonly earliest: ShownAttempt | null;
  /**
   * Hands the last words of an exiting process to the thread. Blocks until the thread has passed them on, at most `ms`,
   * because the main loop will not run again.
   */
  endWith(words: string, ms: number): void;
  /** Resolves in the thread with the last words. The wait does not keep the process alive. */
  lastWords(): Promise<string>;
  /** Tells the main thread that the last words have been passed on. */
  passedOn(): void;
}

/** The shown data of an attempt. */
export interface ShownAttempt {
  readonly taskId: string;
  readonly attempt: number;
  readonly action: string;
}

const FIELDS = ['tick', 'deadline', 'busy', 'draining', 'attempt', 'actionLength', 'wordsLength', 'ending'] as const;
type Field = (typeof FIELDS)[number];

const CELLS_BYTES = FIELDS.length * BigInt64Array.BYTES_PER_ELEMENT;
const ID_BYTES = 36;
/** Most bytes of an action's name; longer names are cut. */
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
      // Thousands of attempts are shown per second, and most have the same action as the previous one.
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

/** Returns monotonic milliseconds that are the same in every thread; `performance.now()` starts at 0 in each thread. */
export function monotonicNowMs(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000;
}
