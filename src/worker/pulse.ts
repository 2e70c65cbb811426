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

const TIMES = ['tick', 'deadline'] as const;
const COUNTS = ['busy', 'draining', 'attempt', 'actionLength', 'wordsLength', 'ending'] as const;
type Time = (typeof TIMES)[number];
type Count = (typeof COUNTS)[number];

const TIMES_BYTES = TIMES.length * BigInt64Array.BYTES_PER_ELEMENT;
const CELLS_BYTES = TIMES_BYTES + COUNTS.length * Int32Array.BYTES_PER_ELEMENT;
const ID_BYTES = 36;
/** Most bytes of an action's name; longer names are cut. */
const ACTION_BYTES = 512;
const WORDS_BYTES = 4_096;

const ENDING = { not: 0, told: 1, passedOn: 2 } as const;

export function createPulse(
  buffer = new SharedArrayBuffer(CELLS_BYTES + ID_BYTES + ACTION_BYTES + WORDS_BYTES),
): Pulse {
  const times = new BigInt64Array(buffer, 0, TIMES.length);
  const cells = new Int32Array(buffer, TIMES_BYTES, COUNTS.length);
  const id = Buffer.from(buffer, CELLS_BYTES, ID_BYTES);
  const action = Buffer.from(buffer, CELLS_BYTES + ID_BYTES, ACTION_BYTES);
  const words = Buffer.from(buffer, CELLS_BYTES + ID_BYTES + ACTION_BYTES, WORDS_BYTES);
  const ending = COUNTS.indexOf('ending');
  let latest: Attempt | null = null;
  let latestAction = '';

  const timeOf = (field: Time): number => Number(Atomics.load(times, TIMES.indexOf(field)));
  const setTime = (field: Time, ms: number): void => {
    Atomics.store(times, TIMES.indexOf(field), BigInt(Math.round(ms)));
  };
  const get = (field: Count): number => Atomics.load(cells, COUNTS.indexOf(field));
  const set = (field: Count, value: number): void => {
    Atomics.store(cells, COUNTS.indexOf(field), value);
  };
  return {
    buffer,
    get tickMs() {
      return timeOf('tick');
    },
    set tickMs(ms) {
      setTime('tick', ms);
    },
    get deadlineMs() {
      return timeOf('deadline');
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
      setTime('deadline', earliest?.deadlineMs ?? 0);
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

/** Milliseconds between the zero of this thread's `performance.now()` and the zero that all threads share. */
const OFFSET_MS = Number(process.hrtime.bigint() / 1_000n) / 1_000 - performance.now();

/**
 * Returns monotonic milliseconds that are the same in every thread, to a few microseconds; `performance.now()` starts at 0
 * in each thread.
 */
export function monotonicNowMs(): number {
  return performance.now() + OFFSET_MS;
}
