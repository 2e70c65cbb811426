import { check } from './checker.ts';
import type {
  AttemptRecord,
  AuditedActions,
  DeadLetterRecord,
  Evidence,
  Execution,
  ProcessRecord,
  TaskRecord,
} from './evidence.ts';

/** Parts of histories for the tests of the checker. What is not given is as in a healthy run. */

/** The start of all histories. */
export const T = 1_800_000_000_000;
let made = 0;

export function task(changes: Partial<TaskRecord> = {}): TaskRecord {
  const id = `task-${String(++made).padStart(4, '0')}`;
  return {
    id,
    ref: `ref-${id}`,
    kind: 'work',
    queue: 'default',
    priority: 2,
    placeMs: T + made,
    keepCompleted: true,
    isUnfinished: false,
    isFinished: true,
    status: 'COMPLETED',
    attempt: 1,
    failures: 0,
    lost: 0,
    maxRetries: 3,
    cancelRequested: false,
    createdMs: T + made,
    runAtMs: changes.createdMs ?? T + made,
    delayMs: 0,
    backoff: null,
    finishedAtMs: T + 100,
    ...changes,
  };
}

export function attempt(changes: Partial<AttemptRecord> = {}): AttemptRecord {
  return {
    table: 'finished',
    attempt: 1,
    workerId: 'w1',
    ordinal: 1,
    startedAtMs: T + 50,
    finishedAtMs: T + 100,
    outcome: 'COMPLETED',
    ...changes,
  };
}

export function worker(changes: Partial<ProcessRecord> = {}): ProcessRecord {
  return {
    name: 'worker-1',
    kind: 'worker',
    pid: 1,
    workerId: 'w1',
    slots: 2,
    startedAtMs: T - 100_000,
    exitedAtMs: null,
    exit: null,
    endedBy: null,
    cutOff: [],
    log: [],
    ...changes,
  };
}

export function execution(of: TaskRecord, changes: Partial<Execution> = {}): Execution {
  return { taskId: of.id, attempt: 1, pid: 1, enteredAtMs: T + 51, leftAtMs: T + 99, ...changes };
}

export function evidence(
  changes: Partial<Evidence> & { rows?: readonly (readonly [TaskRecord, ...AttemptRecord[]])[] } = {},
): Evidence {
  const { rows = [], ...rest } = changes;
  // All attempts but the last did not end their task.
  const stored = rows.map(([row, ...attempts]) => {
    const before = attempts.slice(0, -1).map((one) => ({ ...one, table: 'attempts' as const }));
    return [row.id, [...before, ...attempts.slice(-1)]] as const;
  });
  return {
    bounds: { ttlMs: 10_000, recoveryMs: 15_000, overtakingMs: { strict: 1_000 }, lostCap: 3, slackMs: 0 },
    tasks: rows.map(([row]) => row),
    attempts: new Map(stored),
    deadLetters: [],
    executions: [],
    answers: [],
    processes: [worker()],
    disturbances: [],
    rest: { settledAfterMs: 10, leftInRedis: [], countsThatDisagree: [], connectionsLeft: 0 },
    strays: [],
    unpaired: [],
    audited: auditOf(
      rows.map(([row]) => row),
      rest.deadLetters ?? [],
    ),
    oldTasks: [],
    ...rest,
  };
}

/** Returns what the audit log has if each action left its row. */
function auditOf(tasks: readonly TaskRecord[], deadLetters: readonly DeadLetterRecord[]): Map<string, AuditedActions> {
  const requeues = (id: string): number =>
    deadLetters.filter(({ taskId, requeuedAtMs }) => taskId === id && requeuedAtMs !== null).length;
  return new Map(
    tasks.map(({ id, cancelRequested }) => [id, { cancels: Number(cancelRequested), requeues: requeues(id) }]),
  );
}

/** Returns the names of the invariants that a history breaks. */
export function broken(history: Evidence): string[] {
  return check(history)
    .filter(({ violations }) => violations.length > 0)
    .map(({ invariant }) => invariant);
}
