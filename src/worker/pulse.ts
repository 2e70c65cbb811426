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
  deadlineMs: number;
  /** Slots in use. */
  busy: number;
  /** True once the worker has stopped claiming. */
  draining: boolean;
}

const FIELDS = ['tick', 'deadline', 'busy', 'draining'] as const;

export function createPulse(buffer = new SharedArrayBuffer(FIELDS.length * BigInt64Array.BYTES_PER_ELEMENT)): Pulse {
  const cells = new BigInt64Array(buffer);
  const get = (field: (typeof FIELDS)[number]): number => Number(Atomics.load(cells, FIELDS.indexOf(field)));
  const set = (field: (typeof FIELDS)[number], value: number): void => {
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
    set deadlineMs(ms) {
      set('deadline', ms);
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
  };
}

/** Milliseconds that only grow, the same in every thread (`performance.now()` starts anew in each). */
export function monotonicNowMs(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000;
}
