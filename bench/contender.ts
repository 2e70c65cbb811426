import type { BenchStores } from './stores.ts';
import type { Tally } from './tally.ts';

/** Describes a bulk submission or a backlog: notes with the numbers `from` to `from + count - 1`. */
export interface Load {
  readonly from: number;
  readonly count: number;
  /** Milliseconds that the handler waits; 0 is a no-op. */
  readonly sleepMs: number;
  /** The text in the payload of each task; `TEXT` if missing. */
  readonly text?: string;
  /** Whether all tasks that are submitted one by one come first; otherwise their priority is the same. */
  readonly background?: boolean;
  /** Tasks per call. */
  readonly batch: number;
  /** Concurrent calls. */
  readonly lanes: number;
}

export interface WorkerOptions {
  readonly processes: number;
  /** Concurrent executions per process; null takes the number that suits the contender best for no-ops. */
  readonly slots: number | null;
}

export interface Workers {
  readonly pids: readonly number[];
  stop(): Promise<void>;
}

/** An HTTP service that submits one task per request, and answers when the task is submitted. */
export interface Service {
  readonly url: URL;
  readonly path: string;
  readonly pid: number;
  /** Returns the JSON body that submits the task with this number. */
  body(n: number): string;
}

export interface Arena {
  readonly stores: BenchStores;
  readonly tally: Tally;
  /** Directory for the logs of processes. */
  readonly directory: string;
}

/** A library or service under measurement, with its own database or an emptied Redis. */
export interface Contender {
  /** The database that holds its tasks; null if they are not in PostgreSQL. */
  readonly databaseUrl: string | null;
  submitOne(n: number): Promise<void>;
  submitMany(load: Load): Promise<void>;
  /** The process that submits many tasks, if it is not the bench itself. */
  readonly submitterPid?: number;
  /** Starts the service, which runs until the contender is closed. */
  startService(): Promise<Service>;
  startWorkers(options: WorkerOptions): Promise<Workers>;
  /** Counts the unfinished tasks in the contender's own store. */
  unfinished(): Promise<number>;
  /** Counts the waiting tasks in Redis, for a contender that keeps their order there beside another store. */
  entered?(): Promise<number>;
  /** Counts the tasks that are recorded as finished; null if the contender deletes finished tasks. */
  finished(): Promise<number | null>;
  close(): Promise<void>;
}

export interface ContenderKind {
  readonly name: string;
  /** Its settings, for the report. */
  readonly settings: string;
  /** Whether it is so slow that one round of a drain has to do. */
  readonly isSlow?: boolean;
  /** Returns why it cannot take part on this machine; null if it can. */
  unavailable(): string | null;
  version(): string;
  open(arena: Arena): Promise<Contender>;
}

/** Calls `submit` for each batch of a load, with at most `lanes` concurrent calls. */
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
