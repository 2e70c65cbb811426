import { setImmediate as setImmediatePromise } from 'node:timers/promises';
import { SUBMIT_WAIT_MAX_MS } from '../config/timings.ts';
import { RefusedDataError, StoreUnavailableError } from '../core/errors.ts';
import type { NewTask, Submission } from '../core/task.ts';
import { untilEnded } from '../lifecycle/loop.ts';
import type { Service } from '../lifecycle/service.ts';
import { createOneByOne, isLocked, keyIsLocked, type OneByOne } from './one-by-one.ts';
import type { KnownQueues } from './known-queues.ts';
import type { SubmitResult, TaskStore } from '../store/task-store.ts';

/** A task that stands in PostgreSQL and has to be entered into Redis. */
export interface CommittedTask {
  readonly task: NewTask;
  /** Milliseconds until it may start; 0 is at once. */
  readonly waitMs: number;
}

/**
 * Group commit: submissions that arrive together share one durable statement.
 * Both methods throw `RefusedDataError`, `QueuesExceededError`, and `StoreUnavailableError` when
 * PostgreSQL did not answer twice, or not for long; the tasks may then stand all the same. What could
 * not be sent for too long, because earlier statements hang, is given up with the same error.
 */
export interface Submitter extends Service {
  submit(submission: Submission): Promise<SubmitResult>;
  /** In a transaction of its own, all or nothing, new queues too; each key may occur once. */
  submitAll(submissions: readonly Submission[]): Promise<SubmitResult[]>;
}

export interface SubmitterOptions {
  readonly store: Pick<TaskStore, 'submit' | 'submitAll'>;
  readonly queues: KnownQueues;
  /** Called with what was committed, before its submitters get their answers. Must not throw. */
  readonly onCommitted: (tasks: readonly CommittedTask[]) => void;
  /** Most submissions of one statement. */
  readonly statementMax?: number;
  /** While so many statements are under way, submissions collect. */
  readonly underWayMax?: number;
  /** Milliseconds that a submission waits for its statement to begin, and after which a statement is not repeated. */
  readonly waitMaxMs?: number;
}

/** Characters with which a statement is full: writing more of them would hold the event loop, and take memory. */
const STATEMENT_LENGTH = 1_048_576;

export interface Waiting {
  readonly submission: Submission;
  /** Monotonic milliseconds. */
  readonly sinceMs: number;
  readonly resolve: (result: SubmitResult) => void;
  readonly reject: (error: unknown) => void;
}

export function createSubmitter(options: SubmitterOptions): Submitter {
  const { store, queues, onCommitted, waitMaxMs = SUBMIT_WAIT_MAX_MS } = options;
  const group = createGroupCommit(options);
  const alone = new Set<Promise<unknown>>();

  const submitAll = async (submissions: readonly Submission[]): Promise<SubmitResult[]> => {
    const newQueues = queues.unknownOf(submissions.map(({ task }) => task.queue));
    const work = repeatedOnce(() => store.submitAll(submissions, newQueues), waitMaxMs);
    alone.add(work);
    const results = await work.finally(() => alone.delete(work));
    if (results.some(({ kind }) => kind === 'mismatch')) return results;
    queues.add(newQueues.names);
    onCommitted(committedTasks(submissions, results));
    return results;
  };

  return {
    name: 'submitter',
    async start() {},
    async submit(submission) {
      if (queues.has(submission.task.queue)) return group.submit(submission);
      return (await submitAll([submission]))[0] as SubmitResult;
    },
    submitAll,
    async stop() {
      await untilEnded(Promise.allSettled([group.untilIdle(), ...alone]));
    },
  };
}

/** Collects submissions into statements, of which few are under way at the same time. */
function createGroupCommit(options: SubmitterOptions) {
  const { statementMax = 500, underWayMax = 2, waitMaxMs = SUBMIT_WAIT_MAX_MS } = options;
  /** The oldest first. */
  let waiting: Waiting[] = [];
  let expiry: NodeJS.Timeout | undefined;
  let flushing = false;
  const underWay = new Set<Promise<void>>();
  const oneByOne = createOneByOne({
    waitMaxMs,
    commit: (entry) => commitTogether(options, [entry]),
    onDone: () => flush(),
  });

  const flush = (): void => {
    flushing = false;
    while (underWay.size < underWayMax && waiting.length > 0) {
      const [batch, rest] = takeBatch(waiting, statementMax, oneByOne.has);
      waiting = rest;
      if (batch.length === 0) break;
      const statement = commit(options, oneByOne, batch).finally(() => {
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

  /** While statements hang, what waits for one must not fill the memory, nor be stored when its client has gone. */
  const giveUpLate = (): void => {
    expiry = undefined;
    const lateMs = performance.now() - waitMaxMs;
    const late = waiting.filter(({ sinceMs }) => sinceMs <= lateMs);
    waiting = waiting.slice(late.length);
    const cause = new Error(`not sent for ${waitMaxMs} ms, since earlier statements have no answer`);
    for (const { reject, submission } of late) {
      const isTaken = oneByOne.has(submission.idempotency?.key);
      reject(isTaken ? keyIsLocked(waitMaxMs) : new StoreUnavailableError('postgresql', cause));
    }
    awaitExpiry();
  };

  return {
    submit(submission: Submission): Promise<SubmitResult> {
      const { promise, resolve, reject } = Promise.withResolvers<SubmitResult>();
      waiting.push({ submission, sinceMs: performance.now(), resolve, reject });
      // Not at once: the other requests that were read in this turn of the event loop come along.
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

/** One statement's submissions, all or nothing. */
async function commitTogether(options: SubmitterOptions, batch: readonly Waiting[]): Promise<void> {
  const { store, onCommitted, waitMaxMs = SUBMIT_WAIT_MAX_MS } = options;
  const submissions = batch.map(({ submission }) => submission);
  const results = await repeatedOnce(() => store.submit(submissions), waitMaxMs);
  onCommitted(committedTasks(submissions, results));
  batch.forEach(({ resolve }, i) => resolve(results[i] as SubmitResult));
}

/** The same; where one submission is at fault, the others get on without it. Never rejects: everybody gets a result or an error. */
async function commit(options: SubmitterOptions, oneByOne: OneByOne, batch: readonly Waiting[]): Promise<void> {
  try {
    await commitTogether(options, batch);
  } catch (error) {
    if (isLocked(error)) {
      // Somebody holds one of the keys, and nobody can say which. Those without a key have nothing to wait for.
      const keyless = batch.filter(({ submission }) => submission.idempotency === null);
      oneByOne.add(batch.filter(({ submission }) => submission.idempotency !== null));
      if (keyless.length === batch.length) for (const { reject } of keyless) reject(error);
      else if (keyless.length > 0) await commit(options, oneByOne, keyless);
      return;
    }
    if (error instanceof RefusedDataError && batch.length > 1) {
      // One row is at fault; halving leaves it alone in the end, and its neighbours are stored.
      const middle = Math.ceil(batch.length / 2);
      await commit(options, oneByOne, batch.slice(0, middle));
      await commit(options, oneByOne, batch.slice(middle));
      return;
    }
    for (const { reject } of batch) reject(error);
  }
}

/**
 * The first submissions in order; of those that share a key only the first, the others see its record in a later statement.
 * @param isTaken whether a key is being tried alone, so that its other submissions have to wait
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
    const key = idempotency?.key;
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
 * The answer may have been lost and not the work: the same ids make the repetition harmless.
 * Not after a call that hung for longer than `ms`: its clients would wait as long again, for nothing.
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
