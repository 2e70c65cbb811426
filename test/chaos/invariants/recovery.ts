import type { AttemptRecord, Evidence, Interval, ProcessRecord, Violation } from '../evidence.ts';
import { deadlineOf } from '../intervals.ts';

/** A run of a dead or silent worker that was reclaimed. */
export interface Reclaim {
  readonly taskId: string;
  readonly attempt: number;
  readonly fault: string;
  /** When the worker fell silent. */
  readonly fromMs: number;
  readonly reclaimedMs: number;
  /** Start of the bound: the silence, or the end of an outage of the stores during the silence. */
  readonly countsFromMs: number;
  /** When the run had to be reclaimed at the latest. */
  readonly deadlineMs: number;
}

export function reclaimsOf({ attempts, processes, disturbances, bounds }: Evidence): Reclaim[] {
  const byWorker = new Map(processes.map((process) => [process.workerId, process]));
  // Only outages of the stores extend the bound. It already allows for the death of a sweeper.
  const relevant = disturbances.filter(({ what }) => what === 'redis' || what === 'postgresql');
  const deadline = deadlineOf(bounds.recoveryMs, relevant);
  const reclaims: Reclaim[] = [];
  for (const [taskId, rows] of attempts) {
    for (const row of rows) {
      const silence = row.outcome === 'LOST' ? silenceBefore(row, byWorker.get(row.workerId)) : null;
      if (silence === null || row.finishedAtMs === null) continue;
      // A statement that was already on its way may have started the attempt during the silence.
      const fromMs = Math.max(silence.fromMs, row.startedAtMs);
      const deadlineMs = deadline(fromMs) + bounds.slackMs;
      reclaims.push({
        taskId,
        attempt: row.attempt,
        fault: silence.fault,
        fromMs,
        reclaimedMs: row.finishedAtMs,
        countsFromMs: deadlineMs - bounds.slackMs - bounds.recoveryMs,
        deadlineMs,
      });
    }
  }
  return reclaims;
}

/** A dead worker's task is claimable again in time, counted from the end of any outage of the stores. */
export function deadWorkersAreReclaimedInTime(evidence: Evidence): Violation[] {
  return reclaimsOf(evidence)
    .filter(({ reclaimedMs, deadlineMs }) => reclaimedMs > deadlineMs)
    .map(({ taskId, attempt, fault, fromMs, reclaimedMs, deadlineMs }) => ({
      invariant: 'deadWorkersAreReclaimedInTime',
      taskId,
      message: `attempt ${attempt} was reclaimed ${Math.round(reclaimedMs - fromMs)} ms after ${fault}, due after ${Math.round(deadlineMs - fromMs)} ms`,
    }));
}

/** A task is not buried because it ran each time beside the same other task that kills its workers. */
export function innocentsSurvivePills(evidence: Evidence): Violation[] {
  const { tasks, deadLetters, attempts } = evidence;
  const kindOf = new Map(tasks.map(({ id, kind }) => [id, kind ?? '']));
  const killersOf = killersByWorker(evidence, (taskId) => KILLERS.has(kindOf.get(taskId) ?? ''));
  return deadLetters.flatMap(({ taskId, reason }) => {
    if (reason !== 'lost_cap' || KILLERS.has(kindOf.get(taskId) ?? '')) return [];
    const lost = (attempts.get(taskId) ?? []).filter(({ outcome }) => outcome === 'LOST');
    // If different causes killed its workers, for instance the run itself, no rule could have saved the task.
    const [first, ...others] = lost.map(({ workerId }) => killersOf.get(workerId) ?? new Set<string>());
    const alwaysThere = [...(first ?? [])].filter((killer) => others.every((killers) => killers.has(killer)));
    if (alwaysThere.length === 0) return [];
    const message = `it was buried because of deaths that ${alwaysThere[0]} caused`;
    return [{ invariant: 'innocentsSurvivePills', taskId, message }];
  });
}

/** Returns the killers that were running in each worker that ended by itself. */
function killersByWorker({ executions, processes }: Evidence, isKiller: (taskId: string) => boolean) {
  const killers = executions.filter(({ taskId, leftAtMs }) => leftAtMs === null && isKiller(taskId));
  const byPid = Map.groupBy(killers, ({ pid }) => pid);
  return new Map(
    processes
      .filter(({ endedBy, exitedAtMs }) => endedBy === null && exitedAtMs !== null)
      .map(({ workerId, pid }) => [workerId, new Set((byPid.get(pid) ?? []).map(({ taskId }) => taskId))] as const),
  );
}

/** Kinds of tasks that may end their process. */
export const KILLERS: ReadonlySet<string> = new Set(['pill', 'leak', 'blocks-for-good']);

function silenceBefore(row: AttemptRecord, worker: ProcessRecord | undefined): (Interval & { fault: string }) | null {
  if (worker === undefined || row.finishedAtMs === null) return null;
  const silences = [...worker.cutOff];
  if (worker.exitedAtMs !== null) {
    silences.push({ fromMs: worker.exitedAtMs, toMs: Infinity, fault: worker.endedBy ?? 'its own end' });
  }
  const before = silences.filter(({ fromMs }) => fromMs <= (row.finishedAtMs as number));
  // Take the silence that lasted longest; a short one before it is not the cause.
  return before.toSorted((a, b) => a.toMs - b.toMs || a.fromMs - b.fromMs).at(-1) ?? null;
}
