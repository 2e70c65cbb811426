import type { Position } from '../../core/priority.ts';
import { attemptToken, type StartedTask } from '../../core/task.ts';
import type { Holding, Settlement } from './attempt-store.ts';
import type { Attempt } from './attempt.ts';
import { RELEASED, type Verdict } from './judge.ts';

/** An outcome on its way to PostgreSQL, with what Redis, metrics and log need to know afterwards. */
export interface OpenOutcome {
  /** `<task id>:<attempt>`. */
  readonly token: string;
  readonly settlement: Settlement;
  readonly queue: string;
  readonly position: Position;
  /** Null for a task that never ran here. */
  readonly action: string | null;
  /** Time in the handler; null for a task that never ran here. */
  readonly runMs: number | null;
  readonly waitedMs: number | null;
  /** What every log line about it carries. */
  readonly logFields: Readonly<Record<string, unknown>>;
  /** True where PostgreSQL refused the first outcome and this one stands for it. */
  readonly replaced: boolean;
}

/** The outcome of an attempt that ran here, with the progress that it told last. */
export function outcomeOf(attempt: Attempt, verdict: Verdict, nowMs: number): OpenOutcome {
  const { task, action, waitedMs, startedAtMs, progress } = attempt;
  return { ...base(task, verdict, progress), action, waitedMs, runMs: nowMs - startedAtMs };
}

/** Hands a task back that was started but does not run here. */
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
