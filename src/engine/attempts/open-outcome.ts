import { attemptToken, type StartedTask } from '../../core/task.ts';
import type { Holding, Settlement } from './attempt-store.ts';
import type { Attempt } from './attempt.ts';
import { RELEASED, type Verdict } from './judge.ts';

/**
 * What an outcome needs of its task. It is also the task's position in the order. It is a copy: thousands of outcomes can
 * wait while statements hang, and none of them may keep a payload in memory.
 */
type TaskOfOutcome = Pick<StartedTask, 'id' | 'attempt' | 'queue' | 'priority' | 'placeMs' | 'traceId'>;

/** An outcome that waits to be written to PostgreSQL, with the data that Redis, metrics and log need afterwards. */
export interface OpenOutcome {
  /** `<task id>:<attempt>`. */
  readonly token: string;
  readonly settlement: Settlement;
  readonly task: TaskOfOutcome;
  /** Null for a task that never ran here. */
  readonly action: string | null;
  /** Milliseconds in the handler; null for a task that never ran here. */
  readonly runMs: number | null;
  readonly waitedMs: number | null;
  /** True if PostgreSQL refused the original outcome and this one replaces it. */
  readonly replaced: boolean;
}

/** Returns the outcome of an attempt that ran here, with its latest progress. */
export function outcomeOf(attempt: Attempt, { outcome, reason }: Verdict, nowMs: number): OpenOutcome {
  const { task, token, action, waitedMs, startedAtMs, progress } = attempt;
  const settlement = { id: task.id, attempt: task.attempt, outcome, reason, progress };
  const kept = taskOfOutcome(task);
  return { token, settlement, task: kept, action, runMs: nowMs - startedAtMs, waitedMs, replaced: false };
}

/** Returns a release, to hand back a task that was started but does not run here. */
export function releaseOf(task: StartedTask | Holding): OpenOutcome {
  const settlement = { id: task.id, attempt: task.attempt, ...RELEASED, progress: null };
  const kept = taskOfOutcome(task);
  const token = attemptToken(task);
  return { token, settlement, task: kept, action: null, runMs: null, waitedMs: null, replaced: false };
}

function taskOfOutcome({ id, attempt, queue, priority, placeMs, traceId }: TaskOfOutcome): TaskOfOutcome {
  return { id, attempt, queue, priority, placeMs, traceId };
}

/** Returns the fields of every log line about an outcome. */
export function logFieldsOf({ task }: OpenOutcome): Readonly<Record<string, unknown>> {
  return { trace_id: task.traceId, task_id: task.id, queue: task.queue, attempt: task.attempt };
}
