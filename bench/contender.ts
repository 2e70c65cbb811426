import type { BenchStores } from './stores.ts';
import type { Tally } from './tally.ts';

/** What a bulk submission or a backlog consists of: notes with the numbers from … from + count - 1. */
export interface Load {
  readonly from: number;
  readonly count: number;
  /** Milliseconds that the handler waits; 0 is a no-op. */
  readonly sleepMs: number;
  /** Tasks of one call. */
  readonly batch: number;
  /** Calls under way at the same time. */
  readonly lanes: number;
}

export interface WorkerOptions {
  readonly processes: number;
  /** Executions at a time in each process; null takes what suits the contender best for no-ops. */
  readonly slots: number | null;
}

export interface Workers {
  readonly pids: readonly number[];
  stop(): Promise<void>;
}

export interface Arena {
  readonly stores: BenchStores;
  readonly tally: Tally;
  /** For the logs of processes. */
  readonly directory: string;
}

/** A library or service under measurement, set up on stores of its own. */
export interface Contender {
  /** Where its tasks are; null if not in PostgreSQL. */
  readonly databaseUrl: string | null;
  submitOne(n: number): Promise<void>;
  submitMany(load: Load): Promise<void>;
  startWorkers(options: WorkerOptions): Promise<Workers>;
  /** Tasks that are not finished, as its own store has it. */
  unfinished(): Promise<number>;
  /** Tasks that are recorded as finished; null where finished tasks are deleted. */
  finished(): Promise<number | null>;
  close(): Promise<void>;
}

export interface ContenderKind {
  readonly name: string;
  /** How it is set, for the report. */
  readonly settings: string;
  /** Why it cannot take part on this machine; null if it can. */
  unavailable(): string | null;
  version(): string;
  open(arena: Arena): Promise<Contender>;
}

/** Calls `submit` for each batch of a load, `lanes` at a time. */
export async function inBatches(
  { from, count, batch, lanes }: Load,
  submit: (numbers: readonly number[]) => Promise<unknown>,
): Promise<void> {
  let next = from;
  const lane = async (): Promise<void> => {
    while (next < from + count) {
      const start = next;
      next = Math.min(from + count, next + batch);
      await submit(Array.from({ length: next - start }, (_, i) => start + i));
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}
