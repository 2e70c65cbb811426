import { setImmediate as setImmediatePromise } from 'node:timers/promises';
import { SUBMIT_WAIT_MAX_MS } from '../../config/timings.ts';
import { QueuesMissingError, RefusedDataError, StoreUnavailableError } from '../../core/errors.ts';
import type { NewTask, Submission } from '../../core/task.ts';
import { untilEnded } from '../../lifecycle/loop.ts';
import type { Service } from '../../lifecycle/service.ts';
import type { KnownQueues } from './known-queues.ts';
import { createOneByOne, isLocked, keyIsLocked, type OneByOne, type Waiting } from './one-by-one.ts';
import { scopedKey } from './scoped-key.ts';
import type { SubmitResult, SubmitStore } from './submit-store.ts';

/** A task that is committed in PostgreSQL and has to be entered into Redis. */
export interface CommittedTask {
  readonly task: NewTask;
  /** Milliseconds until the task may start; 0 means at once. */
  readonly waitMs: number;
}

/**
 * Group commit: submissions that arrive together share one durable statement.
 * Creates queues that do not exist or have been deleted.
 * Both methods throw `RefusedDataError`, `QueuesExceededError` and `StoreUnavailableError`. The last one means that
 * PostgreSQL did not answer two tries, or one try for too long; the tasks may still be committed. A submission that
 * could not be sent for too long, because earlier statements hang, fails with the same error.
 */
export interface Submitter extends Service {
  /** @param client the client whose limit counts the queues that it creates; null if it is unknown */
  submit(submission: Submission, client?: string | null): Promise<SubmitResult>;
  /** Commits all submissions and new queues in one transaction, or none; each scoped key may occur only once. */
  submitAll(submissions: readonly Submission[], client?: string | null): Promise<SubmitResult[]>;
}

export interface SubmitterOptions {
  readonly store: SubmitStore;
  readonly queues: KnownQueues;
  /** Called with tasks that were committed, before their submitters get their answers. Must not throw. */
  readonly onCommitted: (tasks: readonly CommittedTask[]) => void;
  /** Most submissions of one statement. */
  readonly statementMax?: number;
  /** Most statements that run at the same time. Submissions collect while this many run. */
  readonly underWayMax?: number;
  /**
   * Milliseconds that a submission waits for its statement to begin. A statement that took longer than this is not
   * repeated.
   */
  readonly waitMaxMs?: number;
}

/** Number of tries for a queue that is deleted each time it has been created. */
const MISSING_ROUNDS = 5;

/** A statement with this many characters is full: a longer one would block the event loop and take memory. */
const STATEMENT_LENGTH = 1_048_576;

export function createSubmitter(options: SubmitterOptions): Submitter {
  const { store, queues, onCommitted, waitMaxMs = SUBMIT_WAIT_MAX_MS } = options;
  const alone = new Set<Promise<unknown>>();

  const submitAll = async (submissions: readonly Submission[], client: string | null): Promise<SubmitResult[]> => {
    for (let round = 1; ; round++) {
      const newQueues = queues.unknownOf(
        submissions.map(({ task }) => task.queue),
        client,
      );
      const work = repeatedOnce(() => store.submitAll(submissions, newQueues), waitMaxMs);
      alone.add(work);
      try {
        const results = await work;
        if (results.some(({ kind }) => kind === 'mismatch')) return results;
        queues.add(newQueues.names);
        onCommitted(committedTasks(submissions, results));
        return results;
      } catch (error) {
        if (!(error instanceof QueuesMissingError)) throw error;
        queues.forget(error.queues);
        // The queue is deleted each time it has been created. Give up.
        if (round === MISSING_ROUNDS) throw new StoreUnavailableError('postgresql', error);
      } finally {
        alone.delete(work);
      }
    }
  };
  const group = createGroupCommit(options, async ({ submission, client, resolve, reject }) => {
    await submitAll([submission], client).then(([result]) => resolve(result as SubmitResult), reject);
  });

  return {
    name: 'submitter',
    async start() {},
    async submit(submission, client = null) {
      if (queues.has(submission.task.queue)) return group.submit(submission, client);
      return (await submitAll([submission], client))[0] as SubmitResult;
    },
    submitAll: (submissions, client = null) => submitAll(submissions, client),
    async stop() {
      await untilEnded(Promise.allSettled([group.untilIdle(), ...alone]));
    },
  };
}

/** Commits one submission in a transaction that creates its queue first, and gives it its result or error. */
type MakeQueue = (entry: Waiting) => Promise<void>;

/** Collects submissions into statements. Only a few statements run at the same time. */
function createGroupCommit(options: SubmitterOptions, makeQueue: MakeQueue) {
  const { statementMax = 500, underWayMax = 2, waitMaxMs = SUBMIT_WAIT_MAX_MS } = options;
  /** Submissions that are not in a statement yet, the oldest first. */
  let waiting: Waiting[] = [];
  let expiry: NodeJS.Timeout | undefined;
  let flushing = false;
  const underWay = new Set<Promise<void>>();
  const oneByOne = createOneByOne({
    waitMaxMs,
    async commit(entry) {
      try {
        await commitTogether(options, [entry]);
      } catch (error) {
        if (!(error instanceof QueuesMissingError)) throw error;
        options.queues.forget(error.queues);
        await makeQueue(entry);
      }
    },
    onDone: () => flush(),
  });

  const flush = (): void => {
    flushing = false;
    while (underWay.size < underWayMax && waiting.length > 0) {
      const [batch, rest] = takeBatch(waiting, statementMax, oneByOne.has);
      waiting = rest;
      if (batch.length === 0) break;
      const statement = commit({ ...options, oneByOne, makeQueue }, batch).finally(() => {
        underWay.delete(statement);
        flush();
      });
      underWay.add(statement);
    }
    awaitExpiry();
  };

  const awaitExpiry = (): void => {
    const [oldest] = waiting;
    if (oldest === undefined || expiry !== undefined) return;
    expiry = setTimeout(giveUpLate, Math.max(0, oldest.sinceMs + waitMaxMs - performance.now()));
  };

  /**
   * Gives up submissions that have waited too long while statements hang. Otherwise they would fill the memory, and
   * would be stored after their clients have gone.
   */
  const giveUpLate = (): void => {
    expiry = undefined;
    const lateMs = performance.now() - waitMaxMs;
    const late = waiting.filter(({ sinceMs }) => sinceMs <= lateMs);
    waiting = waiting.slice(late.length);
    const cause = new Error(`not sent for ${waitMaxMs} ms because earlier statements have no answer`);
    for (const { reject, submission } of late) {
      const isTaken = oneByOne.has(scopedKey(submission));
      reject(isTaken ? keyIsLocked(waitMaxMs) : new StoreUnavailableError('postgresql', cause));
    }
    awaitExpiry();
  };

  return {
    submit(submission: Submission, client: string | null): Promise<SubmitResult> {
      const { promise, resolve, reject } = Promise.withResolvers<SubmitResult>();
      waiting.push({ submission, client, sinceMs: performance.now(), resolve, reject });
      // Do not flush at once, so that other requests of this turn of the event loop share the statement.
      if (!flushing) setImmediate(flush);
      flushing = true;
      return promise;
    },
    async untilIdle(): Promise<void> {
      while (waiting.length > 0 || underWay.size > 0 || oneByOne.busy) {
        await Promise.all([...underWay, oneByOne.untilIdle()]);
        await setImmediatePromise();
      }
      clearTimeout(expiry);
    },
  };
}

/** Commits submissions in one statement, all or none. */
async function commitTogether(options: SubmitterOptions, batch: readonly Waiting[]): Promise<void> {
  const { store, onCommitted, waitMaxMs = SUBMIT_WAIT_MAX_MS } = options;
  const submissions = batch.map(({ submission }) => submission);
  const results = await repeatedOnce(() => store.submit(submissions), waitMaxMs);
  onCommitted(committedTasks(submissions, results));
  batch.forEach(({ resolve }, i) => resolve(results[i] as SubmitResult));
}

interface CommitOptions extends SubmitterOptions {
  readonly oneByOne: OneByOne;
  readonly makeQueue: MakeQueue;
}

/**
 * Commits submissions in one statement. If one of them makes the statement fail, commits the others without it.
 * Never rejects: every submission gets a result or an error.
 */
async function commit(options: CommitOptions, batch: readonly Waiting[]): Promise<void> {
  const { oneByOne } = options;
  try {
    await commitTogether(options, batch);
  } catch (error) {
    if (isLocked(error)) {
      // Another transaction locks one of the keys, and the error does not say which one. Submissions without a key need
      // not wait for it.
      const keyless = batch.filter(({ submission }) => submission.idempotency === null);
      oneByOne.add(batch.filter(({ submission }) => submission.idempotency !== null));
      if (keyless.length === batch.length) for (const { reject } of keyless) reject(error);
      else if (keyless.length > 0) await commit(options, keyless);
      return;
    }
    if (error instanceof QueuesMissingError) {
      await commitWithQueues(options, batch, error.queues);
      return;
    }
    if (error instanceof RefusedDataError && batch.length > 1) {
      // PostgreSQL refused one row. Halving isolates it in the end, so that the others are stored.
      const middle = Math.ceil(batch.length / 2);
      await commit(options, batch.slice(0, middle));
      await commit(options, batch.slice(middle));
      return;
    }
    for (const { reject } of batch) reject(error);
  }
}

/** Commits submissions some of whose queues have been deleted. The first one to each such queue creates it again. */
async function commitWithQueues(
  options: CommitOptions,
  batch: readonly Waiting[],
  missing: readonly string[],
): Promise<void> {
  options.queues.forget(missing);
  const makers = new Map<string, Waiting>();
  for (const entry of batch) {
    const { queue } = entry.submission.task;
    if (missing.includes(queue) && !makers.has(queue)) makers.set(queue, entry);
  }
  const first = new Set(makers.values());
  for (const entry of first) await options.makeQueue(entry);
  const rest = batch.filter((entry) => !first.has(entry));
  if (rest.length > 0) await commit(options, rest);
}

/**
 * Takes the first submissions, in order, and returns them and the rest. Of submissions with the same scoped key it
 * takes only the first one: the others find its record in a later statement.
 * @param isTaken whether a submission with this scoped key is being tried alone, so that others with the key have to wait
 */
function takeBatch(
  waiting: readonly Waiting[],
  most: number,
  isTaken: (key: string) => boolean,
): [Waiting[], Waiting[]] {
  const keys = new Set<string>();
  const batch: Waiting[] = [];
  const rest: Waiting[] = [];
  let length = 0;
  for (const entry of waiting) {
    const { task, idempotency } = entry.submission;
    const key = scopedKey(entry.submission);
    if (batch.length === most || length >= STATEMENT_LENGTH || (key !== undefined && (keys.has(key) || isTaken(key)))) {
      rest.push(entry);
      continue;
    }
    if (key !== undefined) keys.add(key);
    batch.push(entry);
    length += task.payload.length + (idempotency?.answer.length ?? 0);
  }
  return [batch, rest];
}

/**
 * Makes a call, and repeats it once if the store did not answer. Only the answer may have been lost, but the ids are
 * the same, so the second call does no harm. A call that hung for longer than `ms` is not repeated, because its
 * clients would wait as long again for nothing.
 */
async function repeatedOnce<Result>(call: () => Promise<Result>, ms: number): Promise<Result> {
  const sinceMs = performance.now();
  try {
    return await call();
  } catch (error) {
    if (!(error instanceof StoreUnavailableError) || isLocked(error) || performance.now() - sinceMs > ms) throw error;
    return call();
  }
}

function committedTasks(submissions: readonly Submission[], results: readonly SubmitResult[]): CommittedTask[] {
  return submissions.flatMap(({ task }, i) => {
    const result = results[i];
    return result?.kind === 'created' ? [{ task, waitMs: result.waitMs }] : [];
  });
}
