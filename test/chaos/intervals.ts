import { retryDelayMs, DEFAULT_BACKOFF } from '../../src/core/retry-policy.ts';
import {
  isForgotten,
  type AttemptRecord,
  type Disturbance,
  type Evidence,
  type Interval,
  type ProcessRecord,
  type TaskRecord,
} from './evidence.ts';

/** A period in which a task was runnable and did not run. */
export interface Wait {
  readonly task: TaskRecord;
  readonly runnableMs: number;
  /** Start of the next attempt; Infinity if there was none. */
  readonly startedMs: number;
  /** Number of the task's lost runs before this wait. */
  readonly lostBefore: number;
}

/** Derives all waits of all tasks from their attempts. */
export function waitsOf({ tasks, attempts, deadLetters, executions }: Evidence): Wait[] {
  const requeues = new Map(
    deadLetters.map(({ taskId, attempt, requeuedAtMs }) => [`${taskId}:${attempt}`, requeuedAtMs] as const),
  );
  const enteredOf = new Map<string, number>();
  const forgotten = new Set(tasks.filter(isForgotten).map(({ id }) => id));
  for (const { taskId, enteredAtMs } of executions)
    if (forgotten.has(taskId)) enteredOf.set(taskId, Math.max(enteredAtMs, enteredOf.get(taskId) ?? 0));
  return tasks.flatMap((task) => {
    const rows = attempts.get(task.id) ?? [];
    // Nothing says when a forgotten task became runnable first, or by PostgreSQL's clock when it was started last. It
    // counts as one that did not wait, so that it still is a start of its queue.
    const enteredAtMs = enteredOf.get(task.id);
    if (enteredAtMs !== undefined) return [{ task, runnableMs: enteredAtMs, startedMs: enteredAtMs, lostBefore: 0 }];
    const waits: Wait[] = [];
    let failures = 0;
    let lost = 0;
    // The row's time is better than the id's: an API that is cut off from PostgreSQL makes the id long before the row.
    let runnableMs: number | null = isMoved(rows) ? task.createdMs + task.delayMs : task.runAtMs;
    for (const row of rows) {
      if (runnableMs !== null) waits.push({ task, runnableMs, startedMs: row.startedAtMs, lostBefore: lost });
      if (row.outcome === 'RETRIED') failures++;
      if (row.outcome === 'LOST') lost++;
      const requeuedMs = requeues.get(`${task.id}:${row.attempt}`) ?? null;
      if (requeuedMs !== null) failures = lost = 0;
      runnableMs = requeuedMs ?? runnableAfter(task, row, failures);
    }
    const open = task.status === 'PENDING' || task.status === 'SCHEDULED';
    if (open && runnableMs !== null) waits.push({ task, runnableMs, startedMs: Infinity, lostBefore: lost });
    return waits;
  });
}

/** Returns whether `run_at` has changed since the row was made. The FAILED outcome also covers a later requeue. */
function isMoved(rows: readonly AttemptRecord[]): boolean {
  return (
    rows.length > 1 || rows.some(({ outcome }) => ['RETRIED', 'RELEASED', 'LOST', 'FAILED'].includes(outcome ?? ''))
  );
}

function runnableAfter(task: TaskRecord, { outcome, finishedAtMs }: AttemptRecord, failures: number): number | null {
  if (finishedAtMs === null) return null;
  if (outcome === 'RELEASED' || outcome === 'LOST') return finishedAtMs;
  if (outcome !== 'RETRIED') return null;
  const policy = { ...DEFAULT_BACKOFF, ...task.backoff, jitter: 0 };
  return finishedAtMs + retryDelayMs(policy, failures, () => 0);
}

/** Returns the deadline for something that is due at a time. The bound starts again at the end of each disturbance. */
export type Deadline = (fromMs: number) => number;

export function deadlineOf(boundMs: number, disturbances: readonly Interval[]): Deadline {
  const merged: { fromMs: number; toMs: number }[] = [];
  for (const { fromMs, toMs } of disturbances.toSorted((a, b) => a.fromMs - b.fromMs)) {
    const last = merged.at(-1);
    if (last !== undefined && fromMs <= last.toMs) last.toMs = Math.max(last.toMs, toMs + boundMs);
    else merged.push({ fromMs, toMs: toMs + boundMs });
  }
  return (fromMs) => {
    const plainMs = fromMs + boundMs;
    let low = 0;
    let high = merged.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((merged[middle] as Interval).fromMs < plainMs) low = middle + 1;
      else high = middle;
    }
    return Math.max(plainMs, low === 0 ? 0 : (merged[low - 1] as Interval).toMs);
  };
}

/** Returns the times in which tasks of a queue cannot start: because of a store, a pause, or no healthy worker. */
export function disturbancesOf(evidence: Evidence, queue: string): Interval[] {
  const ofQueue = evidence.disturbances.filter(
    (disturbance: Disturbance) => (disturbance.queue ?? null) === null || disturbance.queue === queue,
  );
  return [...ofQueue, ...timesWithoutWorker(evidence.processes.filter((process) => serves(process, queue)))];
}

/** Returns whether a process is a worker for a queue. `strict` workers serve only `strict`; others serve all but it. */
export function serves({ kind, name }: ProcessRecord, queue: string): boolean {
  return kind === 'worker' && (queue === 'strict') === name.startsWith('strict');
}

function timesWithoutWorker(workers: readonly ProcessRecord[]): Interval[] {
  const well: { atMs: number; change: 1 | -1 }[] = [];
  for (const worker of workers) {
    const endMs = worker.exitedAtMs ?? Infinity;
    let fromMs = worker.startedAtMs;
    for (const cut of worker.cutOff.toSorted((a, b) => a.fromMs - b.fromMs)) {
      if (cut.fromMs > fromMs)
        well.push({ atMs: fromMs, change: 1 }, { atMs: Math.min(cut.fromMs, endMs), change: -1 });
      fromMs = Math.max(fromMs, cut.toMs);
    }
    if (fromMs < endMs) well.push({ atMs: fromMs, change: 1 }, { atMs: endMs, change: -1 });
  }
  well.sort((a, b) => a.atMs - b.atMs || b.change - a.change);
  const without: Interval[] = [];
  let count = 0;
  // The time before the first worker is up does not count, because there is no load yet.
  let sinceMs = Infinity;
  for (const { atMs, change } of well) {
    if (count === 0 && change === 1 && atMs > sinceMs) without.push({ fromMs: sinceMs, toMs: atMs });
    count += change;
    if (count === 0) sinceMs = atMs;
  }
  return without;
}
