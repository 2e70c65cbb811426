import type { Position } from '../../core/priority.ts';
import { attemptToken, type StartedTask } from '../../core/task.ts';
import type { Holding, Settlement } from './attempt-store.ts';
import type { Attempt } from './attempt.ts';
import { RELEASED, type Verdict } from './judge.ts';

/** An outcome that waits to be written to PostgreSQL, with the data that Redis, metrics and log need afterwards. */
export interface OpenOutcome {
  /** `<task id>:<attempt>`. */
  readonly token: string;
  readonly settlement: Settlement;
  readonly queue: string;
  readonly position: Position;
  /** Null for a task that never ran here. */
  readonly action: string | null;
  /** Milliseconds in the handler; null for a task that never ran here. */
  readonly runMs: number | null;
  readonly waitedMs: number | null;
  /** Fields for every log line about this outcome. */
  readonly logFields: Readonly<Record<string, unknown>>;
  /** True if PostgreSQL refused the original outcome and this one replaces it. */
  readonly replaced: boolean;
}

/** Returns the outcome of an attempt that ran here, with its latest progress. */
export function outcomeOf(attempt: Attempt, verdict: Verdict, nowMs: number): OpenOutcome {
  const { task, action, waitedMs, startedAtMs, progress } = attempt;
  return { ...base(task, verdict, progress), action, waitedMs, runMs: nowMs - startedAtMs };
}

/** Returns a release, to hand back a task that was started but does not run here. */
export function releaseOf(task: StartedTask | Holding): OpenOutcome {
  return { ...base(task, RELEASED), action: null, waitedMs: null, runMs: null };
}

type Row = Pick<StartedTask, 'id' | 'attempt' | 'queue' | 'priority' | 'placeMs' | 'traceId'>;

function base(task: Row, verdict: Verdict, progress: string | null = null) {
  return {
    token: attemptToken(task),
    settlement: { id: task.id, attempt: task.attempt, ...verdict, progress },
    queue: task.queue,
    position: { id: task.id, priority: task.priority, placeMs: task.placeMs },
    logFields: {
      trace_id: task.traceId,
      task_id: task.id,
      queue: task.queue,
      attempt: task.attempt,
    },
    replaced: false,
  };
}
